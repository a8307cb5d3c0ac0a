package dtdl

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Most sets are without fault. So documents are first read on trial: in parts, by as many parsers as there are
// processors, none of which knows what the others define, and the parts are joined in the order of the
// documents. Where a parser meets an error, or two elements have the same identifier, everything that was read
// is forgotten and the documents are read again one after the other, so that errors, their order and their
// number never depend on the number of processors. That costs a faulty set at most the time of reading it
// once more.

// partBytes is how much text is worth a part of its own.
const partBytes = 16 << 10

// section is a range of documents, and the ranges of what one parser has read of them.
type section struct {
	from, to      int
	by            *parser
	units, order  [2]int
	links, checks [2]int
}

// trial reads documents if there is no fault in them, and reports whether it did.
func (p *parser) trial(docs []Document) bool {
	if p.failed {
		return false
	}
	total := 0
	for i := range docs {
		if len(docs[i].Data) > MaxDocumentBytes {
			return false
		}
		total += len(docs[i].Data)
	}
	if p.bytes+total > MaxSetBytes {
		return false
	}
	parts := divide(docs, total, 4*runtime.GOMAXPROCS(0))
	before := len(p.helpers)
	if !p.readParts(docs, parts, total) || !p.join(parts) {
		for _, h := range p.helpers[before:] {
			h.release()
		}
		p.helpers = p.helpers[:before]
		return false
	}
	p.docs += len(docs)
	p.bytes += total
	return true
}

// divide cuts documents into at most so many parts of about the same number of bytes.
func divide(docs []Document, total, most int) []section {
	n := max(1, min(most, total/partBytes))
	parts := make([]section, 0, n)
	size, from := 0, 0
	for i := range docs {
		size += len(docs[i].Data)
		if i == len(docs)-1 || size >= (len(parts)+1)*(total/n+1) {
			parts = append(parts, section{from: from, to: i + 1})
			from = i + 1
		}
	}
	return parts
}

// readParts reads all parts and reports whether none has a fault.
func (p *parser) readParts(docs []Document, parts []section, total int) bool {
	workers := min(runtime.GOMAXPROCS(0), len(parts))
	var next atomic.Int64
	var failed atomic.Bool
	for range workers {
		q := newParser(p.options)
		q.trying = true
		p.helpers = append(p.helpers, q)
	}
	helpers := p.helpers[len(p.helpers)-workers:]
	work := func(q *parser) {
		q.expect(total / workers)
		for !failed.Load() {
			i := int(next.Add(1)) - 1
			if i >= len(parts) {
				return
			}
			if !q.section(docs, &parts[i], p.docs, &failed) {
				failed.Store(true)
			}
		}
	}
	var all sync.WaitGroup
	for _, q := range helpers {
		if q != helpers[0] {
			all.Go(func() { work(q) })
		}
	}
	if workers > 0 {
		work(helpers[0])
	}
	all.Wait()
	return !failed.Load()
}

// expect prepares for a text of so many bytes.
func (p *parser) expect(bytes int) {
	p.reader.nodes.expect(bytes / 24)
	p.reader.members.expect(bytes / 32)
	p.reader.inner.expect(bytes / 128)
	p.elems.expect(bytes / 200)
	p.linked.expect(bytes / 200)
}

// section reads one part.
func (p *parser) section(docs []Document, part *section, before int, failed *atomic.Bool) bool {
	part.by = p
	part.units[0], part.order[0], part.links[0], part.checks[0] = len(p.units), len(p.order), len(p.links), len(p.checks)
	for i := part.from; i < part.to; i++ {
		if failed.Load() {
			return false
		}
		p.document(newSource(before+i, docs[i]))
		if p.failed {
			return false
		}
	}
	part.units[1], part.order[1], part.links[1], part.checks[1] = len(p.units), len(p.order), len(p.links), len(p.checks)
	return true
}

// join takes over what the parts hold. It reports false, and takes nothing, where an identifier occurs twice.
func (p *parser) join(parts []section) bool {
	units, order, links, checks := len(p.units), len(p.order), len(p.links), len(p.checks)
	for i := range parts {
		q := &parts[i]
		p.units = append(p.units, q.by.units[q.units[0]:q.units[1]]...)
		p.order = append(p.order, q.by.order[q.order[0]:q.order[1]]...)
		p.links = append(p.links, q.by.links[q.links[0]:q.links[1]]...)
		p.checks = append(p.checks, q.by.checks[q.checks[0]:q.checks[1]]...)
	}
	read := p.order[order:]
	if len(p.dict) == 0 {
		p.dict = make(map[string]*elem, len(read))
	}
	for i, e := range read {
		if _, twice := p.dict[e.id]; !twice {
			p.dict[e.id] = e
			continue
		}
		for _, e := range read[:i] {
			delete(p.dict, e.id)
		}
		p.units, p.order, p.links, p.checks = p.units[:units], p.order[:order], p.links[:links], p.checks[:checks]
		return false
	}
	return true
}
