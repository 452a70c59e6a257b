"""Find what is wrong with a data set, and write a clean copy."""
