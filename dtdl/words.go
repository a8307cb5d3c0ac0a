package dtdl

// word numbers the keys that the language knows, so that members of documents are told apart by a number: the
// keywords of JSON-LD and the names of properties.
type word uint8

const (
	noWord word = iota
	wordContext
	wordID
	wordType
	wordValue
	wordLanguage
	wordGraph
	firstPropertyWord
)

// keyword reports whether the key is a keyword of JSON-LD that the language has a use for.
func (w word) keyword() bool { return w != noWord && w < firstPropertyWord }

// dictionary finds words by their text: open addressing in a table that is mostly empty.
type dictionary struct {
	names  []string // by word
	places [512]word
	props  [len(properties)]word // the words of properties
}

var words = newDictionary()

func newDictionary() (d dictionary) {
	d.names = append(make([]string, 0, 64), "", "@context", "@id", "@type", "@value", "@language", "@graph")
	for w := wordContext; w < firstPropertyWord; w++ {
		d.places[d.place(d.names[w])] = w
	}
	for i := range properties {
		at := d.place(properties[i].name)
		if d.places[at] == noWord {
			d.places[at] = word(len(d.names))
			d.names = append(d.names, properties[i].name)
		}
		d.props[i] = d.places[at]
	}
	return d
}

// place returns where a text stands, or would.
func (d *dictionary) place(s string) uint {
	n := uint(len(s))
	if n == 0 {
		n = uint(len(d.places)) // nothing stands there
		return n - 1
	}
	at := n*5 + uint(s[0])*31 + uint(s[n-1])*67 + uint(s[n/2])*17
	for {
		at %= uint(len(d.places) - 1)
		if w := d.places[at]; w == noWord || d.names[w] == s {
			return at
		}
		at++
	}
}

// wordOf returns the number of a text, noWord for one that the language does not know.
func wordOf(s string) word { return words.places[words.place(s)] }
