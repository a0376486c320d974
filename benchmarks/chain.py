"""The chain that every engine runs: two steps that do nothing but pass a dict on."""


def first(params):
    return params


def second(params):
    return params


def both(params):
    return second(first(params))


def first_step(ctx, params):
    return params


def second_step(ctx, params):
    return params
