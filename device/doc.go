// Package device is the MQTT edge of a node: an in-process broker for MQTT 3.1.1 and 5 that authenticates devices,
// takes their telemetry into the journal before it acknowledges, and carries commands to them and answers back.
// It is on floor 3.
//
// It owns the wire: connections, sessions, topics, payload grammar, acknowledgements, admission control, and the batch
// receipt of telemetry. It must not know what a value means (package twin), what a command may do (gate) or
// how its life goes on (control); these are behind the interfaces of types.go.
//
// Topics, where <device> is the identity of the connection (certificate CN, MQTT client id):
//
//	vm/<device>/tel/<twin>   device to node   {"t":"2026-01-02T03:04:05.123456Z","seq":7,"telemetry":{…},"properties":{…},"q":{…}}
//	vm/<device>/rsp          device to node   {"id":"…","ok":true,"code":"done","detail":"…","t":"…","body":{…}}
//	vm/<device>/cmd/<twin>   node to device   {"id":"…","command":"setTap","args":{…},"expires":"…"}, QoS 1
//	vm/<device>/err          node to device   {"topic":"…","reason":"…","code":153}, QoS 0
//
// A PUBACK to a device means durable: its message is merged, receipted and synced, or it is refused for good. Delivery
// is at least once both ways; twins remove duplicates by time and sequence, devices by command id.
//
// The telemetry of one batch is proved by one telemetry.batch receipt: its root is the RFC 6962 tree hash over the
// leaves SHA-256(0x00 || topic || 0x00 || payload), and the leaves are kept under "b/" and the receipt's log index.
package device
