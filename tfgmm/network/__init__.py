"""Input maps, U-Net, likelihood and training of the networks.

batches       tf.data pipelines: records -> (event maps, station pixels, ln IM, weights)
channels      input channels: name, unit, group (source | path | site), formula
checkpoint    the state of a training after each epoch, from which an interrupted training goes on
device        the fastest number format of this machine, and loading of batches into the GPU memory
material      records by role (training, stopping, all) and input maps, for the members of one chunk
member        train, save and load one member, a network of one station chunk and initialisation
normal        Normal distribution at every pixel, its likelihood at stations, event and site terms
training      train the missing members of a run, and write the predictions table
upgrade       convert a run of version 0.1 to the format of this version
unet          U-Net: input channels -> parameter map
"""
