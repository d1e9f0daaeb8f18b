"""Tables of intensity measures of any agency -> a dataset."""
