"""Places that keep named byte strings: directories, memory, S3, any fsspec filesystem."""
