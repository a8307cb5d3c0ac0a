package fsck

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
)

// publishedChecks are the checks of a published log.
var publishedChecks = []string{checkCheckpoint, checkObjects, checkEntries, checkTree, checkChains, checkTimes, checkSignatures}

// Published checks a log in the C2SP tlog-tiles layout: in a folder, a bucket, or behind a web server. The error is of
// kind Invalid where the pins cannot be used; everything else is in the report, also that ctx ended.
func Published(ctx context.Context, b bucket.Bucket, o Options) (*Report, error) {
	o.defaults()
	began := time.Now()
	keys, err := newKeyring(o.Pins)
	if err != nil {
		return nil, err
	}
	p := &published{b: b, o: o, keys: keys}
	tree := tiles.NewBuilder(p.full)
	tree.Visit = p.visit
	p.j = newJudge(o, keys, &p.found, tree)
	defer p.j.close()
	r := &Report{Place: b.String(), Kind: "published"}
	failure := ended(p.check(ctx, r), &p.found)
	return r.finish(&p.found, failure, began, publishedChecks...), nil
}

// published is one check of a published log.
type published struct {
	b     bucket.Bucket
	o     Options
	keys  *keyring
	found findings
	j     *judge
	ctx   context.Context // of the check, for full, which the tree builder calls

	behind backing
	signed *signed // nil as long as no trusted key stands behind the checkpoint
	note   []byte  // the checkpoint
	head   Head
	tile   []byte // hash over the full tile of receipts that was read last
}

func (p *published) check(ctx context.Context, r *Report) error {
	p.ctx = ctx
	raw, err := fetch(ctx, p.b, tiles.Checkpoint, tiles.MaxCheckpoint)
	if err != nil {
		return p.noCheckpoint(ctx, err)
	}
	head, origin, err := ReadHead(raw, tiles.Checkpoint)
	if err != nil {
		p.found.damage(checkCheckpoint, tiles.Checkpoint, "%v", err)
		return nil
	}
	r.Origin, r.Size, r.Root = origin, head.Size, head.Root
	p.note, p.head = raw, head
	p.behind = backing{limit: p.o.Unverified, keys: p.keys, prove: func() bool { return p.keys.checkpoint(raw) == nil }}
	if !p.behind.begin() && !p.o.Pins.Follow {
		p.j.checkpoint(raw, tiles.Checkpoint)
		p.found.note("nothing behind the checkpoint was read, since no pinned key stands behind it")
		return nil
	}
	err = ordered(ctx, p.o.Workers, (head.Size+tiles.Width-1)/tiles.Width,
		func(ctx context.Context, n uint64) bundle { return p.read(ctx, n, head.Size) },
		func(n uint64, v bundle) error { return p.use(n, head.Size, v) })
	if err == nil {
		err = p.j.tree.Partial(p.full)
	}
	if err == nil || ended(err, &p.found) == nil {
		p.j.checkpoint(raw, tiles.Checkpoint) // again: a pinned key may have been retired
	}
	p.j.end(r, head.Size, head.Root, err == nil)
	if err == nil {
		err = p.others(ctx, head.Size)
	}
	return err
}

// noCheckpoint tells an empty place from a log whose checkpoint is gone.
func (p *published) noCheckpoint(ctx context.Context, err error) error {
	switch vaultmesh.KindOf(err) {
	case vaultmesh.TooLarge:
		p.found.damage(checkCheckpoint, tiles.Checkpoint, "%v", err)
		return nil
	case vaultmesh.NotFound:
	default:
		return err
	}
	any := false
	lerr := p.b.List(ctx, "tile/", func(bucket.Object) (bool, error) { any = true; return false, nil })
	if lerr == nil && any {
		p.found.damage(checkCheckpoint, tiles.Checkpoint, "there are tiles, and no checkpoint")
		return nil
	}
	return vaultmesh.Errorf(vaultmesh.NotFound, "fsck", p.b.String(), "no log is published there").Because(err)
}

// bundle is what a worker made of one entry bundle and the level-0 tile beside it.
type bundle struct {
	facts  []fact
	leaves []vaultmesh.Digest // where the entries cannot be read, but their hashes can
	bytes  int64              // that were read
	err    error              // neither damage nor nothing: the place cannot be read
}

// maxTile bounds a hash tile.
const maxTile = tiles.Width * 32

// read reads one bundle and its tile. It runs on any worker.
func (p *published) read(ctx context.Context, n, size uint64) (v bundle) {
	t, _ := tiles.Of(true, 0, n, size)
	hashes, herr := p.object(ctx, tiles.Tile{N: n, Width: t.Width}, maxTile)
	raw, err := p.object(ctx, t, tiles.MaxBundle)
	v.bytes = int64(len(raw))
	if v.err = firstError(herr, err); v.err != nil {
		return v
	}
	if hashes != nil && uint64(len(hashes)) != 32*t.Width {
		p.found.damage(checkObjects, tiles.Tile{N: n, Width: t.Width}.Path(), "%d bytes, want %d", len(hashes), 32*t.Width)
		hashes = nil
	}
	entries, err := tiles.Entries(raw, t.Width)
	if raw != nil && err != nil {
		p.found.damage(checkObjects, t.Path(), "%v", err)
	}
	if raw == nil || err != nil {
		for ; len(hashes) > 0; hashes = hashes[32:] {
			v.leaves = append(v.leaves, vaultmesh.Digest(hashes[:32]))
		}
		return v
	}
	v.facts = make([]fact, len(entries))
	for i, e := range entries {
		v.facts[i] = p.keys.open(e)
		if hashes != nil && !bytes.Equal(hashes[32*i:32*i+32], v.facts[i].leaf[:]) {
			p.found.damage(checkObjects, t.Path(), "entry %d (receipt %d) does not have the hash that tile/0 says: one of the two was changed", i, n*tiles.Width+uint64(i))
		}
	}
	return v
}

// object reads a tile. Nil without an error says that damage was found and reported.
func (p *published) object(ctx context.Context, t tiles.Tile, limit int64) ([]byte, error) {
	b, err := fetch(ctx, p.b, t.Path(), limit)
	switch vaultmesh.KindOf(err) {
	case vaultmesh.NotFound, vaultmesh.TooLarge, vaultmesh.Corrupt:
		p.found.damage(checkObjects, t.Path(), "%v", err)
		return nil, nil
	}
	if err == nil && b == nil {
		b = []byte{}
	}
	return b, err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// use takes the bundles in order.
func (p *published) use(n, size uint64, v bundle) error {
	if v.err != nil {
		return v.err
	}
	width := min(tiles.Width, size-n*tiles.Width)
	p.tile = nil
	if v.facts == nil {
		if err := p.j.missing(v.leaves, width); err != nil {
			return err
		}
		return p.backed(n, v.bytes)
	}
	for _, f := range v.facts {
		if err := p.j.receipt(f); err != nil {
			return err
		}
	}
	p.o.Progress(n*tiles.Width+width, size)
	return p.backed(n, v.bytes)
}

// backed compares what was read last with what was signed, as soon as it is known that a trusted key did.
func (p *published) backed(n uint64, read int64) (err error) {
	if err := p.behind.add(read); err != nil || !p.behind.ok {
		return err
	}
	if p.signed == nil {
		if p.signed, err = p.proved(p.ctx, p.head.Size, p.head.Root); err != nil {
			return err
		}
	}
	return p.signed.covers(p.ctx, n, p.tile)
}

// visit keeps the hash over the receipts of a full tile.
func (p *published) visit(level uint, _ uint64, hash []byte) {
	if level == 8 {
		p.tile = bytes.Clone(hash)
	}
}

// full compares a tile above level 0 with the tree that the receipts have; level 0 was compared with its entries.
func (p *published) full(t tiles.Tile, want []byte) error {
	if t.Level == 0 {
		return nil
	}
	have, err := p.object(p.ctx, t, maxTile)
	if err != nil || have == nil {
		return err
	}
	if !bytes.Equal(have, want) {
		p.found.damage(checkObjects, t.Path(), "it does not hold the hashes of the tree")
	}
	return nil
}

// others looks at the objects that a reader of this checkpoint does not need: partial tiles of earlier checkpoints must
// be beginnings of what superseded them, as long as that is partial itself.
func (p *published) others(ctx context.Context, size uint64) error {
	var partials []tiles.Tile
	strays, beyond := 0, 0
	err := p.b.List(ctx, "", func(o bucket.Object) (bool, error) {
		t, ok := tiles.ParsePath(o.Name)
		if !ok {
			if o.Name != tiles.Checkpoint {
				if strays++; strays <= 3 {
					p.found.note("%s is not a part of a log", o.Name)
				}
			}
			return true, nil
		}
		need, ok := tiles.Of(t.Entries, t.Level, t.N, size)
		switch {
		case !ok || t.Width > need.Width:
			beyond++
		case t.Width < need.Width && len(partials) < maxPartials:
			partials = append(partials, t)
		}
		return true, nil
	})
	if vaultmesh.KindOf(err) == vaultmesh.Invalid && err != nil {
		p.found.note("the place cannot list its objects: earlier partial tiles were not looked at")
		return nil
	}
	if err != nil {
		return err
	}
	if strays > 3 {
		p.found.note("%d objects are not parts of a log", strays)
	}
	if beyond > 0 {
		p.found.note("%d tiles are ahead of the checkpoint: a publication is under way, or was cut short", beyond)
	}
	return p.superseded(ctx, partials, size)
}

// maxPartials bounds the superseded partial tiles that are looked at.
const maxPartials = 10_000

func (p *published) superseded(ctx context.Context, partials []tiles.Tile, size uint64) error {
	return ordered(ctx, p.o.Workers, uint64(len(partials)), func(ctx context.Context, i uint64) error {
		t := partials[i]
		need, _ := tiles.Of(t.Entries, t.Level, t.N, size)
		limit := int64(maxTile)
		if t.Entries {
			limit = tiles.MaxBundle
		}
		have, err := fetch(ctx, p.b, t.Path(), limit)
		if vaultmesh.KindOf(err) == vaultmesh.NotFound && err != nil {
			return nil // collected meanwhile
		}
		var want []byte
		if err == nil {
			want, err = fetch(ctx, p.b, need.Path(), limit)
		}
		kind := vaultmesh.KindOf(err)
		if err != nil && kind != vaultmesh.NotFound && kind != vaultmesh.TooLarge {
			return err
		}
		if err == nil && p.begins(t, have, want) {
			return nil
		}
		if need.Width == tiles.Width {
			p.found.note("%s is not the beginning of the full tile that superseded it: harmless, since nobody needs it", t.Path())
		} else {
			p.found.damage(checkObjects, t.Path(), "it is not the beginning of %s: readers of an earlier checkpoint get something else", need.Path())
		}
		return nil
	}, func(_ uint64, err error) error { return err })
}

// begins reports whether want begins with have and have has the width of the tile.
func (p *published) begins(t tiles.Tile, have, want []byte) bool {
	if !bytes.HasPrefix(want, have) {
		return false
	}
	if !t.Entries {
		return uint64(len(have)) == 32*t.Width
	}
	_, err := tiles.Entries(have, t.Width)
	return err == nil
}

// attempts, retryAfter and requestTimeout bound what one object that cannot be read just now costs.
const (
	attempts       = 3
	retryAfter     = 200 * time.Millisecond
	requestTimeout = time.Minute
)

// fetch reads an object; what may pass is tried again.
func fetch(ctx context.Context, b bucket.Bucket, name string, limit int64) (data []byte, err error) {
	for i := range attempts {
		request, cancel := context.WithTimeout(ctx, requestTimeout)
		data, err = b.Get(request, name, limit)
		cancel()
		if err == nil || vaultmesh.KindOf(err) != vaultmesh.Unavailable || i == attempts-1 {
			break
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", name, ctx.Err())
		case <-time.After(retryAfter << i):
		}
	}
	return data, err
}
