package doc

import (
	"fmt"
	"slices"
)

// diagram is the inheritance as a drawing: what is extended on the left, heirs on the right, and below their base.
// Interfaces that neither extend nor are extended stand in a block of columns below. Lengths are pixels of CSS.
type diagram struct {
	Width, Height int
	Nodes         []*node
	Edges         []string // paths of SVG
}

// node is the box of an interface. One of several bases decides where it stands; the others are named in it.
type node struct {
	ref
	X, Y, W, H   int
	TextX, TextY int
	Text         string
	More         string // " + Equipment"
	children     []*node
	bases        []*node
	column       int // length of the longest way to a root
	extended     bool
	alone        bool
}

// Measures of the drawing.
const (
	rowHeight  = 28
	boxHeight  = 22
	columnGap  = 32
	margin     = 8
	glyphWidth = 7 // of the letters of names, at 12 px; a bound for most
	padding    = 9
	maxName    = 34 // letters; longer names are cut
	lonely     = 5  // columns of the block
	corner     = 6  // radius of the edges' corners
)

// draw lays out the interfaces. It takes O(n log n) time and a bounded area for each interface.
func draw(all []*iface) *diagram {
	nodes := make(map[string]*node, len(all))
	d := &diagram{}
	for _, i := range all {
		n := &node{ref: i.ref, Text: short(i.Name), H: boxHeight, column: -1}
		nodes[i.ID] = n
		d.Nodes = append(d.Nodes, n)
	}
	for _, i := range all {
		for _, base := range i.Extends {
			if b := nodes[base.ID]; b != nil {
				b.extended = true
				nodes[i.ID].bases = append(nodes[i.ID].bases, b)
			}
		}
	}
	for _, n := range d.Nodes {
		n.depth()
	}
	var roots, alone []*node
	for _, n := range d.Nodes {
		p := n.parent()
		switch {
		case p != nil:
			p.children = append(p.children, n)
		case n.extended:
			roots = append(roots, n)
		default:
			n.alone = true
			alone = append(alone, n)
		}
		for _, b := range n.bases {
			if b != p {
				n.More += " + " + b.Text
			}
		}
		n.W = 2*padding + glyphWidth*len([]rune(n.Text+n.More))
	}
	row := 0
	for _, n := range roots {
		row = n.place(margin, row)
	}
	bottom := row*rowHeight + margin
	if len(alone) > 0 {
		bottom = d.block(alone, bottom)
	}
	for _, n := range d.Nodes {
		n.TextX, n.TextY = n.X+n.W/2, n.Y+boxHeight/2
		if p := n.parent(); p != nil {
			d.Edges = append(d.Edges, line(p, n))
		}
		d.Width = max(d.Width, n.X+n.W+margin)
	}
	d.Height = bottom + margin
	return d
}

func short(name string) string {
	if r := []rune(name); len(r) > maxName {
		return string(r[:maxName-1]) + "…"
	}
	return name
}

// depth is the length of the longest way to a root. The language allows no cycles; -2 marks a node on the way.
func (n *node) depth() int {
	if n.column >= 0 {
		return n.column
	}
	if n.column == -2 {
		return 0
	}
	n.column = -2
	column := 0
	for _, b := range n.bases {
		column = max(column, b.depth()+1)
	}
	n.column = column
	return column
}

// parent is the base that decides where a node stands: the first of the deepest.
func (n *node) parent() *node {
	var p *node
	for _, b := range n.bases {
		if p == nil || b.column > p.column {
			p = b
		}
	}
	return p
}

// place gives places to a node and its heirs, from a row on, and returns the next free row. The first heir is on the
// row of its base and the others are below it, right of the line that leads to them: nothing can overlap. Heirs without
// heirs come first, so that the way to them is short.
func (n *node) place(x, row int) int {
	n.X, n.Y = x, margin+row*rowHeight
	if len(n.children) == 0 {
		return row + 1
	}
	slices.SortStableFunc(n.children, func(a, b *node) int { return min(1, len(a.children)) - min(1, len(b.children)) })
	for _, c := range n.children {
		row = c.place(x+n.W+columnGap, row)
	}
	return row
}

// block places nodes without relatives in columns and returns where it ends.
func (d *diagram) block(alone []*node, top int) int {
	if top > margin {
		top += rowHeight / 2
	}
	rows := (len(alone) + lonely - 1) / lonely
	x := margin
	for c := 0; c*rows < len(alone); c++ {
		width := 0
		for r, n := range alone[c*rows : min((c+1)*rows, len(alone))] {
			n.X, n.Y = x, top+r*rowHeight
			width = max(width, n.W)
		}
		x += width + columnGap/2
	}
	return top + rows*rowHeight
}

// line leads from the right side of a base, down, to the left side of an heir.
func line(from, to *node) string {
	y1, y2, trunk := from.Y+boxHeight/2, to.Y+boxHeight/2, to.X-columnGap/2
	if y1 == y2 {
		return fmt.Sprintf("M%d %dH%d", from.X+from.W, y1, to.X)
	}
	return fmt.Sprintf("M%d %dV%dQ%d %d %d %dH%d", trunk, y1, y2-corner, trunk, y2, trunk+corner, y2, to.X)
}
