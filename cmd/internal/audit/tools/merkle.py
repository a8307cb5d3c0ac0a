"""RFC 6962 Merkle tree proofs, with nothing but the standard library."""
import base64, hashlib


def leaf_hash(data):
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def checkpoint(path):
    """Returns size and root of a checkpoint (C2SP tlog-checkpoint)."""
    lines = open(path, encoding="utf-8").read().split("\n")
    return int(lines[1]), base64.b64decode(lines[2], validate=True)


def root_from_inclusion(leaf, index, size, path):
    """RFC 9162, section 2.1.3.2."""
    if index >= size:
        raise ValueError("the index is beyond the tree")
    fn, sn, r = index, size - 1, leaf
    for p in path:
        if sn == 0:
            raise ValueError("the path is too long")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ValueError("the path is too short")
    return r


def consistent(first, first_root, second, second_root, path):
    """RFC 9162, section 2.1.4.2."""
    if not 0 < first < second:
        raise ValueError("the sizes are not in order")
    if first & (first - 1) == 0:
        path = [first_root] + path
    if not path:
        raise ValueError("the path is empty")
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            raise ValueError("the path is too long")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == first_root and sr == second_root
