package dtdl

import (
	"sync"
)

// CacheResolver returns a resolver that keeps what another one has returned, up to maxBytes of documents, and
// asks it only for what it does not have. It is safe for concurrent use if the other one is. When the room is
// used up, the documents that were asked for longest ago are forgotten first.
func CacheResolver(r Resolver, maxBytes int) Resolver {
	c := &resolverCache{ask: r, room: maxBytes, docs: make(map[string]*cached)}
	return c.resolve
}

// resolverCache keeps documents by the identifiers that they define.
type resolverCache struct {
	ask  Resolver
	room int

	mu    sync.Mutex
	docs  map[string]*cached // guarded by mu
	used  int                // bytes; guarded by mu
	clock int64              // counts questions; guarded by mu
}

type cached struct {
	doc  Document
	ids  []string
	last int64 // question that last wanted it
}

func (c *resolverCache) resolve(missing []string) ([]Document, error) {
	out, unknown := c.known(missing)
	if len(unknown) == 0 {
		return out, nil
	}
	docs, err := c.ask(unknown)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range docs {
		c.keep(d)
	}
	return append(out, docs...), nil
}

func (c *resolverCache) known(missing []string) (out []Document, unknown []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	taken := make(map[*cached]struct{})
	for _, id := range missing {
		k, ok := c.docs[id]
		if !ok {
			unknown = append(unknown, id)
			continue
		}
		k.last = c.clock
		if _, twice := taken[k]; !twice {
			taken[k] = struct{}{}
			out = append(out, k.doc)
		}
	}
	return out, unknown
}

// keep stores a document, and forgets others where room is needed. It is called with mu held.
func (c *resolverCache) keep(d Document) {
	ids := definedIn(d)
	if len(ids) == 0 || len(d.Data) > c.room {
		return
	}
	for _, id := range ids {
		if _, ok := c.docs[id]; ok {
			return
		}
	}
	for c.used+len(d.Data) > c.room {
		c.forgetOldest()
	}
	k := &cached{doc: Document{Name: d.Name, Data: append([]byte(nil), d.Data...)}, ids: ids, last: c.clock}
	for _, id := range ids {
		c.docs[id] = k
	}
	c.used += len(d.Data)
}

func (c *resolverCache) forgetOldest() {
	var oldest *cached
	for _, k := range c.docs {
		if oldest == nil || k.last < oldest.last || k.last == oldest.last && k.ids[0] < oldest.ids[0] {
			oldest = k
		}
	}
	for _, id := range oldest.ids {
		delete(c.docs, id)
	}
	c.used -= len(oldest.doc.Data)
}

// definedIn returns the identifiers that the document writes, those of nested elements included.
func definedIn(d Document) []string {
	if len(d.Data) > MaxDocumentBytes {
		return nil
	}
	src := newSource(0, d)
	src.text = string(src.data)
	var r reader
	n, _, why := r.tree(src)
	if why != "" {
		return nil
	}
	p := &parser{mentions: make(map[string]struct{})}
	p.mention(n)
	return sortedNames(p.mentions)
}
