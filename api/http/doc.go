// Package httpapi owns the REST and WebSocket face of a node: its routes, how a request is authenticated and
// bounded, how errors are told, the public read-only log, the change feed, and the typed client for all of it. It
// is on floor 6.
//
// It must not know how a command is decided, stored or dispatched, nor how a receipt is made: it asks the services
// that it declares in service.go. It grants nothing by itself; it proves who calls and hands the [control.Caller]
// on. Reads are authorised here, because they leave no receipt; everything that acts is authorised by the service,
// so that a refusal is receipted too.
//
// The wire contract is openapi.yaml, which a test holds equal to the routes.
package httpapi
