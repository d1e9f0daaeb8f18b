"""Maps, U-Net, likelihood and training.

batches       tf.data: records -> (event maps, station pixels, ln IM, weights)
channels      the maps: name, unit, group (source | path | site), formula
checkpoint    the state of a training after each epoch
device        what the GPU of this machine is good at, if it has one
material      what the members of one chunk share: records with their roles, and maps
member        train, save, load one member
normal        Normal distribution at every pixel, its likelihood at stations, event and site terms in it
training      train what a run lacks; the predictions table
upgrade       bring a run of version 0.1 up to the format of this version
unet          channels -> parameter map
"""
