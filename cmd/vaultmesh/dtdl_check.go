package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/dtdl"
)

type dtdlCheckCmd struct {
	dialect
	Paths []string `arg:"" optional:"" name:"file|dir" help:"Files, folders (all *.json below them), or - for standard input."`
	JSON  bool     `help:"Print one JSON object."`
	Batch bool     `help:"Judge each line of standard input, a JSON array of models that form a set, and answer each with one line of JSON."`
}

// Run checks models: status 0 valid, 1 invalid, 2 unusable. With --batch it is the worst of all lines.
func (c *dtdlCheckCmd) Run(a *app) error {
	o, err := c.options()
	switch {
	case err != nil:
		return err
	case c.Batch && len(c.Paths) > 0:
		return vaultmesh.Errorf(vaultmesh.Invalid, "dtdl.check", "--batch", "models come from standard input").WithFix("leave the files away, or leave --batch away")
	case c.Batch:
		return checkBatch(a.out, os.Stdin, o, dtdl.MaxDocumentBytes)
	case len(c.Paths) == 0:
		return vaultmesh.Errorf(vaultmesh.Invalid, "dtdl.check", "", "no file is named").WithFix("name files or folders of models, or - for standard input")
	}
	set, docs, err := c.set(c.Paths)
	v, code := judge(err)
	switch {
	case c.JSON:
		if err := writeJSON(a.out, v); err != nil {
			return err
		}
	case code == exitUnusable:
		return err
	case code == 0:
		_, err := fmt.Fprintf(a.out, "valid: %s in %s\n", counted(set.Len(), "interface"), counted(len(docs), "file"))
		return err
	default:
		newScreen(a.out).errors(v, docs)
	}
	if code != 0 {
		return status(code)
	}
	return nil
}

// checkBatch answers each line with a verdict, in order, as soon as it was read. A line of more than limit bytes is
// unusable and is skipped; nothing but a broken output ends the run before the input does.
func checkBatch(out io.Writer, in io.Reader, o dtdl.Options, limit int) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	worst := 0
	for n := 1; ; n++ {
		line, tooLong, err := boundedLine(lines, limit)
		if err != nil && !errors.Is(err, io.EOF) {
			return vaultmesh.Errorf(vaultmesh.Invalid, "dtdl.check", fmt.Sprintf("line %d", n), "standard input cannot be read").Because(err)
		}
		last := err != nil
		if last && len(line) == 0 && !tooLong {
			break
		}
		v, code := judgeLine(n, line, tooLong, o, limit)
		if err := writeJSON(out, v); err != nil {
			return err
		}
		worst = max(worst, code)
		if last {
			break
		}
	}
	if worst != 0 {
		return status(worst)
	}
	return nil
}

func judgeLine(n int, line []byte, tooLong bool, o dtdl.Options, limit int) (verdict, int) {
	name := fmt.Sprintf("line %d", n)
	switch {
	case tooLong:
		return judge(vaultmesh.Errorf(vaultmesh.TooLarge, "dtdl.check", name, "it is longer than %d bytes", limit))
	case len(bytes.TrimSpace(line)) == 0:
		return judge(vaultmesh.Errorf(vaultmesh.Invalid, "dtdl.check", name, "it is empty").WithFix("write a JSON array of models"))
	}
	_, err := dtdl.Parse([]dtdl.Document{{Name: name, Data: line}}, o)
	return judge(err)
}

// boundedLine reads one line without its end, and no more than limit bytes of it; the rest of a longer one is skipped.
func boundedLine(r *bufio.Reader, limit int) (line []byte, tooLong bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		end := err == nil
		if end {
			part = part[:len(part)-1]
		}
		if len(line)+len(part) > limit {
			tooLong, line = true, nil
		}
		if !tooLong {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return line, tooLong, err
	}
}
