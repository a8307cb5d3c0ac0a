package main

type benchCmd struct {
	Name string `arg:"" help:"What to measure." default:"all"`
}

// Run measures.
func (c *benchCmd) Run(*app) error { return nil }
