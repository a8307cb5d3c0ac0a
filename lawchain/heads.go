package lawchain

import (
	"maps"
	"sync"

	"vaultmesh.org/vaultmesh"
)

// maxHeads bounds the heads that one generation of the cache holds.
const maxHeads = 1 << 15

// heads knows the end of each subject's chain without asking the journal where it can. It is changed inside the
// journal's operations only; [Log.Prepare] reads it at any time.
//
// The cache has two generations: what was appended to stays for at least maxHeads further subjects. So, as long as no
// two generations have passed since a moment, a subject that is not in the cache has not changed since that moment.
type heads struct {
	mu         sync.Mutex
	fresh      map[string]head // changed since the last Seal: the journal cannot be asked for these
	young, old map[string]head // what the journal holds, of recent subjects
	generation uint64
	limit      int // maxHeads, less in tests
}

func newHeads() heads {
	return heads{limit: maxHeads, fresh: map[string]head{}, young: map[string]head{}, old: map[string]head{}}
}

// get returns the subject's head where it is known, and the present generation.
func (c *heads) get(subject string) (h head, generation uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range [...]map[string]head{c.fresh, c.young, c.old} {
		if h, ok = m[subject]; ok {
			break
		}
	}
	return h, c.generation, ok
}

// set keeps the head of a subject. Taking back an appended receipt is setting the head that was before.
func (c *heads) set(subject string, h head) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh[subject] = h
}

// sealed says that the journal holds all that was fresh once the present commit is applied, which is before the next
// operation runs. Nobody reads the journal's heads until then but Prepare, whose answer is checked.
func (c *heads) sealed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.Copy(c.young, c.fresh)
	clear(c.fresh)
	if len(c.young) >= c.limit {
		c.young, c.old = map[string]head{}, c.young
		c.generation++
	}
}

// head returns the end of the subject's chain, the zero head where it has no receipt, and the generation of the cache
// at which that was so.
func (l *Log) head(subject string) (head, uint64, error) {
	h, generation, ok := l.heads.get(subject)
	if ok {
		return h, generation, nil
	}
	v, ok, err := l.reader().Get(keyHead(subject))
	if err != nil || !ok {
		return head{}, generation, err
	}
	h, ok = decodeHead(v)
	if !ok {
		return head{}, generation, vaultmesh.Errorf(vaultmesh.Corrupt, "lawchain.append", subject, "the head of the subject's chain is damaged")
	}
	return h, generation, nil
}

// still reports whether h, which was the subject's head at the given generation, is its head now; false also where
// only the journal knows.
func (c *heads) still(subject string, h head, generation uint64) bool {
	now, present, ok := c.get(subject)
	if ok {
		return now == h
	}
	return present-generation < 2
}
