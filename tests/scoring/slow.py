"""A scoring script that takes long to load its model, and long to answer."""

import time


def init():
    time.sleep(2)


def run(raw_data):
    time.sleep(0.3)
    return "Slow Model"
