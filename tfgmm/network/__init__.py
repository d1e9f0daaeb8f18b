"""Input maps, U-Net, likelihood and training of the networks.

backbones  the backbone of a station chunk, fitted to its training records
batches    records by role -> (event maps, station pixels, ln IM, weights), as pipelines of tf.data
child      do one stage in a process of its own, which ends when its parent ends
combination  networks, backbone and field of each chunk -> the predictions of a run
channels   input channels: name, unit, group (source | path | site), formula
executors  members in child processes: on this machine, on a Dask cluster, as jobs of Slurm
fields     the field of a station chunk: fitted, told to the networks, added to predictions
member     train, save and load one member, a network of one station chunk and initialisation
normal     Normal distribution at every pixel, its likelihood at the stations of records
preparation  what the members of a chunk share, fitted once and kept in the run
refit      backbone and field conditioned on all records, also on newer ones; networks stay
stages     prepare a chunk, train a member, finish a run: each a function that any process may call
study      plan and train the runs of a study, in one queue
training   train the missing members of a run, and write the predictions table
upgrade    convert a run of version 0.1 to the format of this version
unet       U-Net: input channels -> parameter map
input_channels  channels clipped to the training range, sources moved to their hull; standardised
"""
