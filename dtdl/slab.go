package dtdl

import (
	"sync"
	"unsafe"
)

// slab gives out values and short lists of T that are cut from long ones. What it gives is zero, and is given again
// only behind a reset.
type slab[T any] struct {
	free  []T
	next  int
	used  [][]T // all that was cut from since the last reset
	spare [][]T // what was used before it
}

// slabBytes bounds what slabs cut from: larger pieces of memory are dear.
const slabBytes = 32<<10 - 64

// most is the number of values in the longest list that a slab cuts from.
func (s *slab[T]) most() int { return max(8, slabBytes/int(unsafe.Sizeof(*new(T)))) }

// one returns a value.
func (s *slab[T]) one() *T {
	if len(s.free) == 0 {
		s.cut(1)
	}
	v := &s.free[0]
	s.free = s.free[1:]
	return v
}

func (s *slab[T]) cut(n int) {
	for last := len(s.spare) - 1; last >= 0; last-- {
		s.free, s.spare = s.spare[last], s.spare[:last]
		if len(s.free) >= n {
			s.used = append(s.used, s.free)
			return
		}
	}
	s.next = min(max(2*s.next, 8), s.most())
	s.free = make([]T, max(s.next, n))
	s.used = append(s.used, s.free)
}

// list returns n values, which nothing can be appended to in place.
func (s *slab[T]) list(n int) []T {
	if n > len(s.free) {
		if n > s.most()/4 {
			return make([]T, n)
		}
		s.cut(n)
	}
	out := s.free[:n:n]
	s.free = s.free[n:]
	return out
}

// expect says how many values will be asked for, about.
func (s *slab[T]) expect(n int) { s.next = min(n/8, s.most()) / 2 }

// copied returns a copy of a list.
func (s *slab[T]) copied(from []T) []T {
	to := s.list(len(from))
	copy(to, from)
	return to
}

// maxKept bounds the lists that a slab keeps for later, about a megabyte.
const maxKept = 32

// reset takes back all that the slab has given.
func (s *slab[T]) reset() {
	for _, list := range s.used {
		if len(s.spare) < maxKept {
			clear(list)
			s.spare = append(s.spare, list)
		}
	}
	clear(s.used)
	s.free, s.used = nil, s.used[:0]
}

// scratch is the memory of a parser in which nothing is that a set or an error refers to. Parsers hand it on to later
// ones, so that a program that reads many sets does not ask for it each time.
type scratch struct {
	reader reader
	elems  slab[elem]
	rares  slab[rare]
	linked slab[link]
	tops   slab[unit]
	lists  slab[*elem]
	units  []*unit
	order  []*elem // as they are completed: children before parents
	links  []*link
	checks []check
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// release hands the scratch of a parser on, and that of those that helped it. The parser is not to be used behind it.
func (p *parser) release() {
	for _, h := range p.helpers {
		h.release()
	}
	s := p.scratch
	p.scratch, p.helpers = nil, nil
	s.reader.nodes.reset()
	s.reader.inner.reset()
	s.reader.members.reset()
	s.reader.items.reset()
	s.elems.reset()
	s.rares.reset()
	s.linked.reset()
	s.tops.reset()
	s.lists.reset()
	s.reader.scanner, s.reader.text, s.reader.repeated = scanner{}, "", nil
	s.reader.open, s.reader.listed = emptied(s.reader.open), emptied(s.reader.listed)
	s.units, s.order, s.links, s.checks = emptied(s.units), emptied(s.order), emptied(s.links), emptied(s.checks)
	scratches.Put(s)
}

// emptied returns a list without elements that may keep its memory.
func emptied[T any](list []T) []T {
	list = list[:cap(list)]
	if len(list) > maxKept*slabBytes/int(unsafe.Sizeof(*new(T))) {
		return nil
	}
	clear(list)
	return list[:0]
}
