"""kafka-python's own integration tests, run against a gateway: ``nox -s kafka_python``.

They come with its source distribution, all but two small modules that start Apache Kafka, which is not what
is wanted here. Which tests are known not to pass, and why, is in :mod:`tests.kafka.kafka_python.known`; that
list is exact: a failure that is not in it is one, and so is a test in it that passes.
"""
