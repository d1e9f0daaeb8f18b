"""Input maps, U-Net, likelihood and training of the networks.

batches   tf.data pipelines: records -> (event maps, station pixels, ln IM, weights), on any device
channels  input channels: name, unit, group (source | path | site), formula
member    train, save and load one member, a network of one station chunk and initialisation
material  records by role (training, stopping, all) and input maps, for the members of one chunk
normal    Normal distribution at every pixel, its likelihood at stations, event and site terms
training  train the missing members of a run, and write the predictions table
upgrade   convert a run of version 0.1 to the format of this version
unet      U-Net: input channels -> parameter map
"""
