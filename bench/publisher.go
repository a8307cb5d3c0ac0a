package bench

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/device"
)

// linesEach is how many twins one device speaks for, in turn.
const linesEach = 4

// fromCounter is how many microseconds of a time come from the message counter.
const fromCounter = 1_000_000

// publisher makes the messages of one device: message n is always the same bytes, so that what was acknowledged can be
// looked for afterwards. Message n is about line n mod linesEach, and its time is the base time and n microseconds.
type publisher struct {
	device vaultmesh.DeviceID
	twins  [linesEach]vaultmesh.TwinID
	base   time.Time // whole seconds
	lines  [linesEach]packet
}

// packet is an MQTT PUBLISH with QoS 1, and where in it the parts are that differ from message to message.
type packet struct {
	bytes                            []byte
	id, payload, date, micros, value int
	second                           uint64 // of the date that is in bytes
}

func newPublisher(i int, base time.Time) *publisher {
	p := &publisher{device: vaultmesh.DeviceID(fmt.Sprintf("sub-%d", i)), base: base}
	for k := range p.lines {
		p.twins[k] = vaultmesh.TwinID(fmt.Sprintf("line-%d-%d", i, k))
		p.lines[k] = newPacket(device.TelemetryTopic(p.device, p.twins[k]), base)
	}
	return p
}

// The layout of a payload: 193 bytes.
const payloadText = `{"t":"2006-01-02T15:04:05.000000Z","seq":1,"telemetry":{"activePowerFrom":128.000000,"reactivePowerFrom":-27.4,"activePowerTo":-126.9,"reactivePowerTo":22.1,"loading":0.64},"q":{"loading":"good"}}`

func newPacket(topic string, base time.Time) packet {
	rest := 2 + len(topic) + 2 + len(payloadText)
	b := binary.AppendUvarint([]byte{0x32}, uint64(rest)) // the remaining length of MQTT is a base-128 varint
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(topic))), topic...)
	p := packet{id: len(b), payload: len(b) + 2}
	p.bytes = append(append(b, 0, 0), payloadText...)
	p.date = p.payload + strings.Index(payloadText, "2006")
	p.micros = p.date + len("2006-01-02T15:04:05.")
	p.value = p.payload + strings.Index(payloadText, "128.") + len("128.")
	base.AppendFormat(p.bytes[p.date:p.date], "2006-01-02T15:04:05")
	return p
}

// next returns message n, valid until the next call.
func (p *publisher) next(n uint64) []byte {
	k := &p.lines[n%linesEach]
	binary.BigEndian.PutUint16(k.bytes[k.id:], packetID(n))
	if s := n / fromCounter; s != k.second {
		k.second = s
		p.time(n).AppendFormat(k.bytes[k.date:k.date], "2006-01-02T15:04:05")
	}
	sixDigits(k.bytes[k.micros:], n%fromCounter)
	sixDigits(k.bytes[k.value:], n%fromCounter)
	return k.bytes
}

// payloadOf returns the payload of message n, valid until the next call.
func (p *publisher) payloadOf(n uint64) []byte { return p.next(n)[p.lines[n%linesEach].payload:] }

// time is when message n says that it was measured.
func (p *publisher) time(n uint64) time.Time {
	return p.base.Add(time.Duration(n) * time.Microsecond)
}

// packetID numbers messages; zero is no identifier (MQTT-2.2.1).
func packetID(n uint64) uint16 { return uint16(n%65535) + 1 }

func sixDigits(b []byte, v uint64) {
	for i := 5; i >= 0; i-- {
		b[i] = '0' + byte(v%10)
		v /= 10
	}
}
