// Package dtdl sets the parser of package dtdl beside the language's own one. It is on floor 7 and holds tests
// and benchmarks only.
package dtdl
