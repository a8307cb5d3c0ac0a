package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/lawchain/fsck"
	"vaultmesh.org/vaultmesh/lawchain/tiles"
	"vaultmesh.org/vaultmesh/receipt"
)

type fsckCmd struct {
	Place   string        `arg:"" help:"Data folder of a stopped node; or a published log or an archive: a folder, s3://…, gs://…, https://host/log/."`
	Trust   string        `help:"Trust file: the keys that you pin. Default for a data folder: its own trust.json, which vouches for itself." type:"path"`
	Key     string        `help:"Verifier key of the log, instead of a trust file: the signatures of receipts are then not judged."`
	Expect  []string      `help:"Checkpoint that you have seen before: the log must extend it (repeat)." type:"path"`
	Tiles   string        `help:"Where the log of a data folder is published. Default: its folder log."`
	Unread  int64         `name:"unverified" help:"Bytes of receipts that are read at most before a key of the trust file, or one that it is followed to, is known to stand behind them; -1 is no limit." default:"268435456"`
	Drift   time.Duration `help:"How far a receipt's time may lie before an earlier one's, or in the future." default:"1m"`
	Timeout time.Duration `help:"End with what is known after this time." default:"1h"`
	Workers int           `help:"Readers at a time; 0 is the number of processors." default:"0"`
	CA      string        `help:"PEM file with the roots for https, instead of the system's." name:"ca" type:"path"`
	JSON    bool          `help:"Print one JSON object."`
}

// Run checks a log: status 0 sound, 1 damaged, 2 unusable.
func (c *fsckCmd) Run(a *app) error {
	ctx, cancel := context.WithTimeout(a.ctx, c.Timeout)
	defer cancel()
	reports, err := c.check(ctx, a)
	code := 0
	if err != nil {
		code = exitUnusable
	}
	verdict := fsck.Sound
	for _, r := range reports { // damage anywhere is damage, whatever else could not be read
		if r.Verdict != fsck.Sound && verdict != fsck.Damaged {
			verdict, code = r.Verdict, r.Status()
		}
	}
	if err != nil && verdict == fsck.Sound {
		verdict = fsck.Unusable
	}
	if c.JSON {
		out := struct {
			Verdict fsck.Verdict   `json:"verdict"`
			Reports []*fsck.Report `json:"reports"`
			Error   string         `json:"error,omitempty"`
		}{verdict, append([]*fsck.Report{}, reports...), ""}
		if err != nil {
			out.Error = err.Error()
		}
		if err := json.NewEncoder(a.out).Encode(out); err != nil {
			return err
		}
	} else {
		for _, r := range reports {
			if err := tell(a.out, r); err != nil {
				return err
			}
		}
	}
	if err != nil {
		explain(a.errOut, err)
	}
	if code != 0 {
		return status(code)
	}
	return nil
}

func (c *fsckCmd) check(ctx context.Context, a *app) ([]*fsck.Report, error) {
	data, err := isData(c.Place)
	if err != nil {
		return nil, err
	}
	trust := c.Trust
	if data && trust == "" && c.Key == "" {
		trust = filepath.Join(c.Place, "trust.json")
		fmt.Fprintf(a.errOut, "vaultmesh: the keys are those of %s itself: a folder that was rewritten as a whole would pass. Pin keys with --trust.\n", c.Place)
	}
	o := fsck.Options{Drift: c.Drift, Workers: c.Workers, Unverified: c.Unread, Progress: c.progress(a)}
	if o.Pins, err = pins(trust, c.Key); err != nil {
		return nil, err
	}
	for _, path := range c.Expect {
		note, err := readUpTo(path, tiles.MaxCheckpoint)
		if err != nil {
			return nil, err
		}
		h, _, err := fsck.ReadHead(note, path)
		if err != nil {
			return nil, err
		}
		o.Heads = append(o.Heads, h)
	}
	if data {
		o.Unverified = -1 // it is here already
		return c.data(ctx, o)
	}
	b, err := c.open(ctx, c.Place)
	if err != nil {
		return nil, err
	}
	defer func() { _ = b.Close() }()
	kind, err := fsck.Kind(ctx, b)
	if err != nil {
		return nil, err
	}
	run := fsck.Published
	if kind == "archive" {
		run = fsck.Archive
	}
	r, err := run(ctx, b, o)
	if err != nil {
		return nil, err
	}
	return []*fsck.Report{r}, nil
}

// data checks the journal of a data folder, then what was published of it, each against the other.
func (c *fsckCmd) data(ctx context.Context, o fsck.Options) (reports []*fsck.Report, err error) {
	j, err := journal.OpenReadOnly(filepath.Join(c.Place, "journal"))
	if vaultmesh.KindOf(err) == vaultmesh.Conflict && err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Conflict, "fsck", c.Place, "a node runs on this data folder").
			WithFix("stop it; or check what it publishes while it runs: `vaultmesh fsck https://HOST:PORT/log/ --trust FILE`, with --ca where the node has a certificate of your own CA")
	}
	if vaultmesh.KindOf(err) == vaultmesh.Corrupt && err != nil {
		reports = append(reports, fsck.Unreadable(c.Place, err))
	} else if err != nil {
		return nil, err
	}
	place := c.Tiles
	if place == "" {
		place = filepath.Join(c.Place, "log")
	}
	b, err := c.open(ctx, place)
	if err != nil {
		return reports, errors.Join(err, closed(j))
	}
	defer func() { _ = b.Close() }()
	note, nerr := b.Get(ctx, tiles.Checkpoint, tiles.MaxCheckpoint)
	if j != nil {
		defer func() { _ = j.Close() }()
		of := o
		if nerr == nil {
			if h, _, err := fsck.ReadHead(note, "published checkpoint in "+b.String()); err == nil {
				of.Heads = append(of.Heads, h)
			}
		}
		r, err := fsck.Journal(ctx, j, c.Place, of)
		if err != nil {
			return reports, err
		}
		reports = append(reports, r)
	}
	kind, err := fsck.Kind(ctx, b)
	if err == nil && kind == "" && c.Tiles == "" {
		return reports, nil // nothing is published there
	}
	r, err := fsck.Published(ctx, b, o)
	if err != nil {
		return reports, err
	}
	return append(reports, r), nil
}

func closed(j *journal.ReadOnly) error {
	if j == nil {
		return nil
	}
	return j.Close()
}

// isData tells a node's data folder from other places.
func isData(place string) (bool, error) {
	if strings.Contains(place, "://") {
		return false, nil
	}
	st, err := os.Stat(place)
	if err != nil || !st.IsDir() {
		return false, vaultmesh.Errorf(vaultmesh.Invalid, "fsck", place, "there is no such folder").Because(err).WithFix("name a data folder, a folder with a published log, or a URL")
	}
	_, err = os.Stat(filepath.Join(place, "journal"))
	return err == nil, nil
}

func (c *fsckCmd) open(ctx context.Context, place string) (bucket.Bucket, error) {
	if c.CA == "" || !strings.HasPrefix(place, "https://") {
		return bucket.Open(ctx, place)
	}
	pem, err := readUpTo(c.CA, 1<<20)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, vaultmesh.Errorf(vaultmesh.Invalid, "fsck", c.CA, "it holds no PEM certificate")
	}
	return bucket.NewHTTP(place, &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}})
}

// pins reads what the user trusts.
func pins(trust, key string) (fsck.Pins, error) {
	switch {
	case key != "" && trust == "":
		return fsck.PinLogKey(key)
	case trust == "":
		return fsck.Pins{}, vaultmesh.Errorf(vaultmesh.Invalid, "fsck", "", "no key is pinned").WithFix("give --trust FILE, or --key with the verifier key of the log")
	}
	text, err := readUpTo(trust, receipt.MaxTrust)
	if err != nil {
		return fsck.Pins{}, err
	}
	t, err := receipt.LoadTrust(text)
	if err != nil {
		return fsck.Pins{}, vaultmesh.Errorf(vaultmesh.Invalid, "fsck", trust, "the trust file cannot be used").Because(err)
	}
	return fsck.PinTrust(t)
}

// progressEvery is the time between two lines of progress.
const progressEvery = 5 * time.Second

func (c *fsckCmd) progress(a *app) func(done, total uint64) {
	last := time.Now()
	return func(done, total uint64) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			fmt.Fprintf(a.errOut, "vaultmesh: %d of %d receipts read (%d %%)\n", done, total, 100*done/max(total, 1))
		}
	}
}

// tell prints a report for a person.
func tell(w io.Writer, r *fsck.Report) error {
	s := newSheet(w)
	colour := green
	if r.Verdict != fsck.Sound {
		colour = red
	}
	s.say(colour, "%s: %s %s", strings.ToUpper(string(r.Verdict)), r.Kind, r.Place)
	if r.Origin != "" {
		s.fact("log", "%s, %s, root", r.Origin, counted(int(r.Size), "receipt"))
		s.verbatim(r.Root.String())
		s.fact("read", "%s of %s, %d with a good signature of their own, in %.1f s", counted(int(r.Receipts), "receipt"), counted(int(r.Subjects), "subject"), r.Signed, r.Seconds)
	}
	for _, c := range r.Checks {
		mark, colour := "ok", ""
		switch {
		case c.Problems > 0:
			mark, colour = counted(int(c.Problems), "problem"), red
		case !c.Judged:
			mark = "not judged"
		case !c.OK:
			mark, colour = "not finished", yellow
		}
		s.painted(colour, c.Name, "%s", mark)
	}
	for _, p := range r.Problems {
		s.painted(red, "!", "%s", p)
	}
	if r.More > 0 {
		s.painted(red, "!", "and %d more", r.More)
	}
	for _, n := range r.Notes {
		s.fact("note", "%s", n)
	}
	if r.Reason != "" {
		s.painted(yellow, "not finished", "%s", r.Reason)
	}
	return s.flush()
}
