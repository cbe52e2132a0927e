"""What is answered to each kind of request, a family a file."""
