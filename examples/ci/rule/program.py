def program(a, b):
    """Distilled from a network; equal to it as stated.

    domain   a: int[0..30], b: int[0..30]
    output   argmax of the network's outputs
    verdict  PROVED  the program equals the network on all 961 inputs
    """
    return int(a >= 2 * b)
