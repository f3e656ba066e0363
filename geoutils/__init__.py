"""In which city was this photo taken? A thin helper package for the notebooks.

Steps exchange tables (`tables`: their schemas). A step with one answer is a module; one with many answers is a folder.

    labelling             cities, geo
    splits and sampling   splits, sampling; streaming: the same from a corpus larger than memory
    features              features
    running               pipeline: a profile's notebooks; predictor: a finished run's method on new photos
    ground                tables, artifacts, images, download

    readers/      a collection of photos -> a photo table       add a corpus here
    networks/     a name -> a network with its weights          add a network here
    methods/      a sample -> a predictions file                add a method here
    evaluation/   predictions -> numbers and sentences          add a number here
    views/        tables -> figures, maps, pages, widgets       add a picture here
    collectors/   photos from elsewhere, for whoever has none
    world/        made-up photos, for whoever has none
"""

__version__ = "0.1.0"
