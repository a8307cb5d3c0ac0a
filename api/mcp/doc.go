// Package mcpapi owns the face of a node for AI agents, the Model Context Protocol: the tools and resources, their
// words and their schemas, what an agent is told to do next in every state of a command, and how a request is
// authenticated, bounded and answered over HTTP and over standard input and output. It is on floor 6.
//
// It must not know how a command is decided, stored or dispatched, how a receipt is made, or any profile: it asks the
// [Backend]. It has no tool that approves, rejects, halts or resumes: those need a person's key, outside of the
// agent's reach. What it answers to an agent is advice; what holds is enforced by the gate.
//
// One server speaks both eras of the protocol: revisions up to 2025-11-25, which have sessions, and 2026-07-28, which
// has none. The files sdk.go and transport.go alone know the SDK.
package mcpapi
