"""Consumer groups: members that share out partitions, with nobody in charge of them."""
