package dtdl

// malformed reports what can be no JSON-LD, wherever it stands in a document: a @context that is neither a
// string nor an object, a malformed definition of a term, a @graph that does not hold objects. The document is
// given up then.
func (p *parser) malformed(n *node) {
	for i := range n.members {
		m := &n.members[i]
		switch m.key {
		case "@context":
			for _, part := range m.values() {
				switch part.kind {
				case '"':
				case '{':
					p.localContext(part)
				default:
					p.quit("invalidContext", p.at(part), Error{found: part.what()})
				}
			}
			continue
		case "@graph":
			for _, v := range m.values() {
				if v.kind != '{' {
					p.quit("graphNotObject", p.at(v), Error{found: v.what()})
				}
			}
		}
		p.malformed(m.value)
	}
	for _, item := range n.items {
		p.malformed(item)
	}
}

// localContext reports definitions of terms that are malformed. No version of the language lets documents
// define terms, but what is malformed is said first.
func (p *parser) localContext(part *node) {
	for i := range part.members {
		m := &part.members[i]
		switch m.value.kind {
		case '"', 'n':
		case '{':
			id := m.value.get(wordID)
			switch {
			case id == nil:
				p.quit("termDefinitionMissingIdProperty", p.keyAt(m), Error{})
			case id.value.kind != '"':
				p.quit("termDefinitionIdPropertyNotString", p.keyAt(id), Error{})
			}
		default:
			p.quit("termDefinitionNotStringOrObject", p.keyAt(m), Error{})
		}
	}
}
