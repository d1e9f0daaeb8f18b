"""The model elsewhere: export, servers, clients.

client          ask a model server: tables in, xarray or tables out
export          an ensemble -> one SavedModel in a new version folder
graph           an ensemble as TensorFlow functions that need no Python
grpc_health     the health checks of gRPC
grpc_service    the gRPC interface of TensorFlow Serving
grpc_transport  the same over gRPC
http_body       bodies of HTTP messages with an end to them, also compressed ones
http_protocol   HTTP/1.1 that does not wait for ever
json_request    the JSON of a request -> arrays, checked before they are made
limits          how much a server takes on, and who computes
messages        the message of a gRPC request -> arrays, checked before it is unpacked
model           one version of a SavedModel in memory: its signatures, what they accept
models          the newest version of every model, which changes under way
projection      longitude and latitude -> pixel by TensorFlow operations
readme          what stands beside an exported model
refusal         why a server does not answer a request, in the words of HTTP and of gRPC
rest            the REST interface of TensorFlow Serving
server          both of them in front of models, for machines without docker
transport       one request to a model server, over REST
warmup          requests that a model server runs while it loads a model
"""
