package tiles

import (
	"context"
	"sync"
	"time"

	"vaultmesh.org/vaultmesh/lawchain/bucket"
)

// collector knows the partial tiles in the bucket. C2SP tlog-tiles lets a log delete them once the full tile is there;
// readers of a checkpoint that was the newest a moment ago get the grace.
type collector struct {
	mu      sync.Mutex
	swept   bool                   // what earlier processes left is known
	growing map[Tile]map[Tile]bool // of each tile that is not full yet its partials
	due     []dueTile              // in the order of their times
}

type dueTile struct {
	at    time.Time // the full tile was published
	tiles []Tile
}

func newCollector() collector { return collector{growing: map[Tile]map[Tile]bool{}} }

func (c *collector) add(t Tile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := t.full()
	if c.growing[f] == nil {
		c.growing[f] = map[Tile]bool{}
	}
	c.growing[f][t] = true
}

// found adds what a listing gave and what is not known yet.
func (c *collector) found(tiles []Tile) {
	c.mu.Lock()
	due := map[Tile]bool{}
	for _, d := range c.due {
		for _, t := range d.tiles {
			due[t] = true
		}
	}
	c.swept = true
	c.mu.Unlock()
	for _, t := range tiles {
		if !due[t] {
			c.add(t)
		}
	}
}

// published says that a checkpoint of this size is in the bucket since at: partials of tiles that are full in it become
// superfluous.
func (c *collector) published(size uint64, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var done []Tile
	for f, partials := range c.growing {
		if (f.N+1)*Width > size>>(8*f.Level) {
			continue
		}
		for t := range partials {
			done = append(done, t)
		}
		delete(c.growing, f)
	}
	if len(done) > 0 {
		c.due = append(c.due, dueTile{at, done})
	}
}

// take returns one group whose grace has passed at now.
func (c *collector) take(now time.Time, grace time.Duration) ([]Tile, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.due) == 0 || now.Sub(c.due[0].at) < grace {
		return nil, false
	}
	d := c.due[0].tiles
	c.due = c.due[1:]
	return d, true
}

func (c *collector) giveBack(tiles []Tile, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due = append(c.due, dueTile{at, tiles})
}

// Collect deletes the partial tiles whose full tile was published at least the grace before now, and returns how many.
// The first call of a process also lists the bucket for what earlier ones left, which gets the grace from then.
func (p *Publisher) Collect(ctx context.Context, now time.Time) (int, error) {
	if err := p.sweep(ctx, now); err != nil {
		return 0, err
	}
	n := 0
	for {
		tiles, ok := p.partial.take(now, p.o.Grace)
		if !ok {
			return n, nil
		}
		for i, t := range tiles {
			err := p.request(ctx, func(ctx context.Context) error { return p.o.Bucket.Delete(ctx, t.Path()) })
			if err != nil {
				p.partial.giveBack(tiles[i:], now)
				return n, err
			}
			n++
			p.metrics.collected.Inc()
		}
	}
}

// sweep finds the partial tiles that earlier processes left.
func (p *Publisher) sweep(ctx context.Context, now time.Time) error {
	p.partial.mu.Lock()
	swept := p.partial.swept
	p.partial.mu.Unlock()
	size := p.Published()
	if swept || size == 0 {
		return nil
	}
	var found []Tile
	err := p.o.Bucket.List(ctx, "tile/", func(o bucket.Object) (bool, error) {
		if t, ok := ParsePath(o.Name); ok && t.Width < Width {
			found = append(found, t)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	p.partial.found(found)
	p.partial.published(size, now)
	return nil
}

// collect runs Collect now and then until ctx ends.
func (p *Publisher) collect(ctx context.Context) {
	for sleep(ctx, min(p.o.Grace, time.Minute)) {
		if _, err := p.Collect(ctx, time.Now()); err != nil && ctx.Err() == nil {
			p.metrics.failures.Inc()
			p.o.Logger.Warn("cannot delete superseded partial tiles; it is tried again", "bucket", p.o.Bucket.String(), "error", err)
		}
	}
}
