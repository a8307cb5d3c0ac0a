// Package dtdl owns the Digital Twins Definition Language: it parses sets of interfaces of DTDL v2, v3 and v4
// into an immutable graph, validates instance values (properties, telemetry, command requests and responses,
// whole twins) against it with validators that are compiled once, and exports JSON Schemas.
//
// It must not know twins, devices, transports or stores, and it reads no file and no clock. It is on floor 1
// and imports only the root package.
//
// The parser follows tables that internal/gen makes from the language's own metamodel: all classes,
// properties, limits, contexts, extensions (annotation, historization, mqtt, overriding, quantitativeTypes,
// requirement, the limit extensions onvif and aio, iotcentral, iotoperations), quantities and units are what
// that metamodel says. Errors carry the validation identifiers of the language's own parser. How far both
// agree is measured with the language's conformance suite; docs/dtdl-conformance.md lists every difference.
//
// Sources: DTDL.v2.md, DTDL.v3.md, DTDL.v4.md and the metamodel digest of the language's own repositories,
// RFC 8259 (JSON), RFC 3339 (dates and times), ISO 8601 (durations), RFC 9562 (UUID), RFC 7946 (GeoJSON
// geometries), JSON Schema 2020-12.
package dtdl

// Bounds on what comes from outside. They are the language's own where it has one, and generous otherwise.
const (
	MaxDocuments      = 10_000    // documents of one set
	MaxDocumentBytes  = 16 << 20  // one document
	MaxSetBytes       = 64 << 20  // all documents of one set, resolved ones included
	MaxDocumentDepth  = 128       // nesting of JSON arrays and objects in a document
	MaxSetContents    = 2_000_000 // contents of all interfaces of a set, inherited ones counted in each heir
	MaxResolverRounds = 32        // questions to the resolver for one set
	MaxErrors         = 100       // errors that one run reports; further ones are counted
	MaxValueBytes     = 1 << 20   // one instance value
	MaxValueDepth     = 32        // nesting of JSON arrays and objects in an instance value
)

// Document is one text of a set: one interface, or an array of interfaces, in JSON.
type Document struct {
	Name string // names the text in errors, for example its file name
	Data []byte // UTF-8, a byte order mark is tolerated
}

// Resolver returns documents that define elements which a set refers to and does not hold. It is asked with
// all identifiers that are missing at once, sorted, never twice for the same in one run, and again for what
// the new documents refer to. What it does not return is an error at each reference.
type Resolver func(missing []string) ([]Document, error)

// Options changes how a set is parsed; the zero value is the language's own default.
type Options struct {
	// AllowUndefinedExtensions accepts contexts that this package does not know, and with such a context in
	// force unknown co-types and unknown properties, which are kept. Without it only DTDL v2 does.
	AllowUndefinedExtensions bool
	// DisallowUndefinedExtensions refuses such contexts in DTDL v2 too. It wins over AllowUndefinedExtensions.
	DisallowUndefinedExtensions bool
	// MaxVersion is the highest major version of the language that is accepted; 0 is the highest there is.
	MaxVersion int
	// Limits are the limit extensions that documents may use, as DTMIs with or without a version, for example
	// "dtmi:dtdl:limits:onvif"; nil accepts all, an empty slice none.
	Limits []string
	// Resolver is asked for elements that the documents refer to and do not define; nil resolves nothing.
	Resolver Resolver
	// Partial accepts references that remain unresolved; [Set.Unresolved] lists them. An interface inherits
	// nothing from a missing one, and values whose schema is missing are refused by their validators.
	Partial bool
}

// Parse reads a whole set of documents. The order of the documents does not matter to the model. All errors
// are found in one run, those of what stands on faulty documents excepted: the error is an [*Errors], in the
// order of the documents and of the places in them. The documents are not kept and may be reused.
func Parse(docs []Document, o Options) (*Set, error) {
	p := newParser(o)
	defer p.release()
	p.read(docs)
	p.resolve()
	p.link()
	p.check()
	if err := p.errs.result(); err != nil {
		return nil, err
	}
	return p.seal()
}
