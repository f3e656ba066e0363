"""The command: clear refusals, exit codes, and what `weights` prints."""

import pytest

from geoutils import weights
from geoutils.__main__ import main


def test_an_error_the_user_can_mend_is_one_line_and_exit_code_1(tmp_path, capsys):
    assert main(["run", str(tmp_path / "nothing.yaml")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("deep-im2gps: no profile")
    assert "Traceback" not in said


@pytest.mark.parametrize("arguments", [[], ["fly"], ["predict", "a.jpg"], ["weights", "eat"]])
def test_a_wrong_command_line_is_exit_code_2(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_weights_list_names_every_network_with_its_licence_and_source(capsys):
    assert main(["weights", "list"]) == 0
    said = capsys.readouterr().out
    for name, known in weights.WEIGHT_FILES.items():
        assert name in said
        assert known.url in said


def test_weights_check_tells_what_the_bundled_file_is(capsys):
    assert main(["weights", "check", str(weights.lite0_file())]) == 0
    assert "it fits efficientnet_lite0" in capsys.readouterr().out


def test_unknown_weights_name_those_there_are(capsys):
    assert main(["weights", "fetch", "places999"]) == 1
    assert "places205_alexnet" in capsys.readouterr().err


def test_predict_on_an_empty_run_says_what_to_run(tmp_path, capsys):
    assert main(["predict", "a.jpg", "--run", str(tmp_path)]) == 1
    assert "deep-im2gps run" in capsys.readouterr().err
