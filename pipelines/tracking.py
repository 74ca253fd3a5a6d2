class Files:
    def __getattr__(self, name):
        return lambda *a, **k: None


Tracker = Files


def opened(kind, experiment):
    return Files()


def is_reference(text):
    return False


def resolve(t):
    raise ValueError
