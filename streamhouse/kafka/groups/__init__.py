"""Groups of Kafka clients: the rules of both protocols, and who may commit offsets for them."""
