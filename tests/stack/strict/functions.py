def enforce() -> None:
    pass
