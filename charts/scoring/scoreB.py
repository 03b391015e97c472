"""A scoring script that answers the same to every request, so that one can see which of two images has answered."""


def init():
    """Loads the model; here there is none."""


def run(raw_data):
    """Answers a request: its body, or as JSON the query of a GET."""
    return "New Model B"
