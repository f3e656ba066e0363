"""Networks by name, with their weights and what they expect of a photo.

`backbones.load` builds one; `paper` holds the paper's two, `libraries` those of timm and torchvision; `weights` finds,
checks and reads weight files, `caffe` those of Caffe; `preprocessing` turns a photo into a tensor; `batches` takes many
through a network.

Networks of timm and torchvision need nothing: their names work as they are. To add another: a file here with a function
`build_NAME(downloaded)` that returns a network, what it expects of a photo and the name of its features' layer, and one
line in `backbones.NETWORKS`. If its weights are a published file, one row in weights.csv.
"""
