"""Ground-motion models learned as image processing.

The house, in the order in which data flow through it. A module imports only from modules listed
above it (``tests/conformance/test_import_order.py`` holds us to it).

errors                          what can be wrong with the data or the command
endings                         endings of names of files mean formats, or are refused
files                           write whole or not at all; content hashes
imt                             intensity measure types and their units
grid                            map projection, pixel geometry, input and output windows
coast                           coastlines and what is land
experiment                      the validated, serialisable description of a run; presets
records                         the flatfile: events, stations, records; checks, parquet
layers                          site layers (z_bedrock, vs30) on the grid
mixed_effects                   linear regression with crossed random effects
ergodic                         the ergodic ground-motion model that is fitted to the records
sources.bounded                 files -> bytes, with a bound on memory
sources.kinds                   what a file is that is no table, and what to do about it
sources.delimited               bytes of delimited text -> columns of text
sources.workbook                an Excel workbook -> columns of text
sources.sheet                   files of tables -> named columns of text
sources.column_names            what columns of tables of places and events are called
sources.selection               what every reader of records keeps and drops, and why
sources.matching                which events of two catalogues are one earthquake
sources.combine                 two imports add up to one dataset
sources.jma_format              bytes of JMA intensity and acceleration files -> tables
sources.jma_coordinates         better coordinates of JMA stations
sources.jma                     JMA intensity and acceleration files -> records
sources.units                   units of acceleration: which one a file is in, and whether it can be
sources.wide                    rows with all about a record -> events, stations, records
sources.layout                  which column of a table holds what
sources.table                   any wide flatfile -> records, and records -> one wide CSV
sources.gmprocess               flatfiles of gmprocess -> records
sources.kiknet_flatfile         the KiK-net flatfile of Bahrampouri et al. -> records
sources.quakeml                 QuakeML -> events, as they stand in the file
sources.catalogue_table         tables of events of any agency -> events
sources.catalogue               event catalogues, checked; better magnitudes
sources.fetch                   files that are free to download: resumed, verified
accelerograms.waveforms         accelerograms -> PGA and response spectra
accelerograms.archive           files in folders and archives, one after the other
accelerograms.nied_format       bytes of a K-NET or KiK-net file -> one component
accelerograms.nied_csv          the CSV form of such a file -> its components
accelerograms.nied_pairs        such files -> pairs of horizontals, events, stations
accelerograms.nied_ascii        K-NET and KiK-net files -> records
accelerograms.instruments       what a channel measures, and which channels are the horizontals
accelerograms.win32             NIED WIN32 files -> samples
accelerograms.win32_channels    their channel table -> stations, units and sensitivities
accelerograms.gse               GSE 1.0 and 2.0 files -> traces
accelerograms.trace_files       MiniSEED, SAC, GSE and text files -> traces
accelerograms.station_table     their station table -> places and scales
accelerograms.continuous        WIN32 files of any length -> pieces of acceleration or velocity
accelerograms.obspy_files       all other waveform files -> such pieces
accelerograms.event_windows     pieces -> one gapless record an event and instrument
accelerograms.mesonet           continuous waveforms and an event catalogue -> records
site_layers.extent              longitudes of any convention, and regions -> one unbroken part of a map
site_layers.values              values of a layer as files hold them; marks of missing ones
site_layers.layer_table         table of points -> site layer
site_layers.jshis               J-SHIS deep structure and surface Vs30 -> site layer
site_layers.netcdf              NetCDF 3 or 4 -> one variable on longitude and latitude
site_layers.geotiff             GeoTIFF -> one band, in degrees or a map projection
site_layers.raster              GeoTIFF or NetCDF of any region -> site layer
site_layers.site_layer          any file of a site layer, recognised by its first bytes
simulation.random_field         Gaussian random fields that can be evaluated at any point
simulation.truth                the truth behind simulated records: median, site, path and event terms
simulation.scenario             where and when the simulated stations and events are
simulation.simulated            simulated records with a planted truth
lease                           one process at a time trains a member: leases that end with their owner
run_folder                      what lies where in a run, and what the run is
verification                    which files of a run or a dataset are what was written
pipeline.channels               the maps: name, unit, group (source | path | site), formula
pipeline.splits                 roles of events and sites: training, validation, stopping
pipeline.device                 what the GPU of this machine is good at, if it has one
pipeline.dataset                tf.data: records -> (event maps, station pixels, ln IM, weights)
mixture                         many Normal distributions -> mean, aleatory and epistemic variance
site_kriging                    site terms between the sites: kriging of event-corrected station means
path_terms                      source and path terms: what records of near sources tell of others
random_effects                  event, site and path terms around what the networks predict
within_event                    within-event residuals: how far alike, what some tell of others
model.unet                      channels -> parameter map
model.random_terms              event and site terms while a network learns
model.normal                    Normal distribution at every pixel, likelihood at station pixels
model.checkpoint                the state of a training after each epoch
model.member                    train, save, load one member
model.training                  train what a run lacks; the predictions table
analysis.calibration            scaling of the predicted standard deviation
model.places                    where a distribution is wanted: every pixel of the map, or sites
model.ranges                    what the members have learned from: ranges of values, and stations
model.scenarios                 what is to be predicted: earthquakes, and sites
model.map_files                 maps of earthquakes on disk: NetCDF that grows, and GeoTIFF
model.ensemble                  members -> maps of mean, aleatory and epistemic standard deviation
analysis.boosting               gradient boosting of the same records
analysis.baselines              what simpler models predict on the same folds
analysis.published_models       published ergodic models, through pygmm
analysis.scores                 the four-way table; groups of records
analysis.bootstrap              intervals by resampling events and sites
analysis.probabilistic          scores of predicted distributions, in any grouping; who is over-confident
analysis.published              values that the study in the Kanto basin published
analysis.comparison             runs beside each other and the publication; paired differences
analysis.residuals              the full ensemble; bias and scatter against what may explain them
analysis.variability            residuals split into event, site and remaining parts
analysis.parts                  parts of sigma, predicted and found; what is left to gain between stations
analysis.effects                what was learned about sources and paths
analysis.oracle                 how near to the planted median a map is, and how near it can be
analysis.figures                maps and distributions
analysis.residual_figures       figures of residuals, their parts and calibration
analysis.effects_report         a run -> tables and maps of what was learned about sources and paths
analysis.dataset_figures        figures of stations and of magnitudes and distances
analysis.scored                 everything that predicts the records of a run
analysis.section                an answer to a reviewer's question: a table, a figure and text
analysis.residual_sections      what a reviewer asks of sigma: calibration, parts, trends of residuals
analysis.sections               what a reviewer asks of a run: how good is it, where, beside what
analysis.evaluation             a finished run -> its tables and figures
analysis.report                 evaluations -> one HTML page, or a folder of Markdown
analysis.description            what a dataset holds, in a few tables
analysis.scenario_figures       maps of one predicted earthquake
analysis.amplification          what remains of ln IM at a place when source and path are averaged away
analysis.interpolation          how wrong a map of site terms is between the stations
analysis.layer_response         how predictions answer to the site layers alone
analysis.site_terms             empirical site terms: what the records say of their stations
analysis.event_selection        which events a map is averaged over
analysis.amplification_maps     estimates of site amplification as labelled maps and tables, and on disk
analysis.amplification_figures  maps of site amplification, and amplification against period
model.prediction                earthquakes -> files of what engineers ask for, maps or a table of sites
model.event_means               what single members predict on average over events
model.site_study                a run, opened to ask what it has learned about its sites
model.site_amplification        a run -> what it has learned about its sites, with every part of the error
model.site_amplification_files  the same as maps, figures and tables in one folder
serving.projection              longitude and latitude -> pixel by TensorFlow operations
serving.path_graph              source and path terms as TensorFlow operations
serving.graph                   an ensemble as TensorFlow functions that need no Python
serving.warmup                  requests that a model server runs while it loads a model
serving.refusal                 why a server does not answer a request, in the words of HTTP and of gRPC
serving.limits                  how much a server takes on, and who computes
serving.model                   one version of a SavedModel in memory: its signatures, what they accept
serving.models                  the newest version of every model, which changes under way
serving.readme                  what stands beside an exported model
serving.export                  an ensemble -> one SavedModel in a new version folder
serving.json_request            the JSON of a request -> arrays, checked before they are made
serving.messages                the message of a gRPC request -> arrays, checked before it is unpacked
serving.http_body               bodies of HTTP messages with an end to them, also compressed ones
serving.rest                    the REST interface of TensorFlow Serving
serving.grpc_health             the health checks of gRPC
serving.grpc_service            the gRPC interface of TensorFlow Serving
serving.http_protocol           HTTP/1.1 that does not wait for ever
serving.server                  both of them in front of models, for machines without docker
serving.transport               one request to a model server, over REST
serving.grpc_transport          the same over gRPC
serving.client                  ask a model server: tables in, xarray or tables out
options                         options of the command line
console                         tables and progress on the terminal
import_commands                 tfgmm import ...
fetch_commands                  tfgmm fetch ...
prediction_commands             tfgmm predict | export | serve | query
site_amp_commands               tfgmm site-amp
cli                             the command line
"""
