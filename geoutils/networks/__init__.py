"""Networks by name, with their weights and what they expect of a photo.

`backbones.load` builds one; `paper` holds the paper's two; `weights` finds, checks and reads weight files, `caffe`
those of Caffe; `preprocessing` turns a photo into a tensor; `batches` takes many through a network.

To add a network with a published weight file: one row in weights.csv, and one entry in `backbones.CAFFE_NETWORKS` if
it is Caffe's. Networks of timm and torchvision need nothing: their names work as they are.
"""
