package powerflow

import "math"

// block is a 2×2 matrix by rows: (∂P/∂θ, V∂P/∂V; ∂Q/∂θ, V∂Q/∂V) in the Jacobian.
type block [4]float64

// slotPair holds the two blocks of one slot, (i, k) of U and (k, i) of L: one cache line, since an update that reads
// one reads the other.
type slotPair struct{ u, l block }

// factor is the numerical part of an LU factorisation on a symbolic structure: J = L·D·U' with D inverted in place,
// L of unit diagonal, U' = D⁻¹·U left unscaled.
//
// Pivots are the 2×2 diagonal blocks in the fixed order; the Jacobian of a power flow needs no other pivoting in
// practice. Where it would, the pivot test or, at the latest, the mismatch that the Newton iteration recomputes from
// the voltages turns the failure into a refusal.
type factor struct {
	pairs []slotPair
	diag  []block   // the pivot blocks, inverted by factorise
	scale []float64 // size of the determinant of each diagonal block before elimination
}

func newFactor(s *symbolic) *factor {
	n := len(s.parent)
	return &factor{pairs: make([]slotPair, len(s.idx)), diag: make([]block, n), scale: make([]float64, n)}
}

// pivotFloor is how small, beside the terms that cancelled, a determinant may be before it is only rounding noise.
const pivotFloor = 1e-14

func determinantScale(d *block) float64 { return max(math.Abs(d[0]*d[3]), math.Abs(d[1]*d[2])) }

// factorise eliminates in place, right-looking. It returns the position of a pivot that vanished or is not finite, or -1.
func (f *factor) factorise(s *symbolic) int {
	for i := range f.diag {
		f.scale[i] = determinantScale(&f.diag[i])
	}
	updates := s.updates
	for i := range f.diag {
		d := &f.diag[i]
		det := d[0]*d[3] - d[1]*d[2]
		if !(math.Abs(det) > pivotFloor*max(f.scale[i], determinantScale(d))) || math.IsInf(det, 0) {
			return i
		}
		inv := 1 / det
		d0, d1, d2, d3 := d[3]*inv, -d[1]*inv, -d[2]*inv, d[0]*inv
		d[0], d[1], d[2], d[3] = d0, d1, d2, d3
		from, to := s.start[i], s.start[i+1]
		row, cols := f.pairs[from:to], s.idx[from:to]
		for a := range row {
			l := &row[a].l
			l0, l1, l2, l3 := l[0], l[1], l[2], l[3]
			l[0], l[1] = l0*d0+l1*d2, l0*d1+l1*d3
			l[2], l[3] = l2*d0+l3*d2, l2*d1+l3*d3
		}
		for a := range row {
			l0, l1, l2, l3 := row[a].l[0], row[a].l[1], row[a].l[2], row[a].l[3]
			u0, u1, u2, u3 := row[a].u[0], row[a].u[1], row[a].u[2], row[a].u[3]
			t := &f.diag[cols[a]]
			t[0] -= l0*u0 + l1*u2
			t[1] -= l0*u1 + l1*u3
			t[2] -= l2*u0 + l3*u2
			t[3] -= l2*u1 + l3*u3
			rest := row[a+1:]
			to := updates[:len(rest)]
			updates = updates[len(rest):]
			for b := range rest {
				c, t := &rest[b], &f.pairs[to[b]]
				t.u[0] -= l0*c.u[0] + l1*c.u[2]
				t.u[1] -= l0*c.u[1] + l1*c.u[3]
				t.u[2] -= l2*c.u[0] + l3*c.u[2]
				t.u[3] -= l2*c.u[1] + l3*c.u[3]
				t.l[0] -= c.l[0]*u0 + c.l[1]*u2
				t.l[1] -= c.l[0]*u1 + c.l[1]*u3
				t.l[2] -= c.l[2]*u0 + c.l[3]*u2
				t.l[3] -= c.l[2]*u1 + c.l[3]*u3
			}
		}
	}
	return -1
}

// solve replaces x, two values a position, by J⁻¹·x.
func (f *factor) solve(s *symbolic, x [][2]float64) {
	n := len(f.diag)
	for i := range n {
		from, to := s.start[i], s.start[i+1]
		row, cols := f.pairs[from:to], s.idx[from:to]
		x0, x1 := x[i][0], x[i][1]
		for a := range row {
			l, t := &row[a].l, &x[cols[a]]
			t[0] -= l[0]*x0 + l[1]*x1
			t[1] -= l[2]*x0 + l[3]*x1
		}
	}
	for i := n - 1; i >= 0; i-- {
		from, to := s.start[i], s.start[i+1]
		row, cols := f.pairs[from:to], s.idx[from:to]
		x0, x1 := x[i][0], x[i][1]
		for a := range row {
			u, y := &row[a].u, &x[cols[a]]
			x0 -= u[0]*y[0] + u[1]*y[1]
			x1 -= u[2]*y[0] + u[3]*y[1]
		}
		d := &f.diag[i]
		x[i][0], x[i][1] = d[0]*x0+d[1]*x1, d[2]*x0+d[3]*x1
	}
}

// columns fills z with the four columns of J⁻¹ that belong to the positions i and k: z[p] holds, by rows of p, the
// values in the columns (θi, Vi, θk, Vk). The forward sweep visits only the paths of i and k to the root of the
// elimination tree.
func (f *factor) columns(s *symbolic, i, k int32, z [][8]float64) {
	clear(z)
	z[i][0], z[i][5] = 1, 1
	z[k][2], z[k][7] = 1, 1
	for i != -1 || k != -1 {
		at := i
		if i == -1 || k != -1 && k < i {
			at = k
		}
		if i == at {
			i = s.parent[i]
		}
		if k == at {
			k = s.parent[k]
		}
		from, to := s.start[at], s.start[at+1]
		row, cols, y := f.pairs[from:to], s.idx[from:to], &z[at]
		for a := range row {
			l, t := &row[a].l, &z[cols[a]]
			for c := range 4 {
				t[c] -= l[0]*y[c] + l[1]*y[4+c]
				t[4+c] -= l[2]*y[c] + l[3]*y[4+c]
			}
		}
	}
	for at := len(f.diag) - 1; at >= 0; at-- {
		from, to := s.start[at], s.start[at+1]
		row, cols := f.pairs[from:to], s.idx[from:to]
		y := z[at]
		for a := range row {
			u, t := &row[a].u, &z[cols[a]]
			for c := range 4 {
				y[c] -= u[0]*t[c] + u[1]*t[4+c]
				y[4+c] -= u[2]*t[c] + u[3]*t[4+c]
			}
		}
		d, out := &f.diag[at], &z[at]
		for c := range 4 {
			out[c], out[4+c] = d[0]*y[c]+d[1]*y[4+c], d[2]*y[c]+d[3]*y[4+c]
		}
	}
}
