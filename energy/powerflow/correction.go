package powerflow

import "math"

// correction is what an outage changes in the inverse of the base Jacobian J. With E the four unit columns of the
// outage's ends and Δ the change of the Jacobian there, (J+EΔEᵀ)⁻¹·b = y − Z·(I+ΔS)⁻¹Δ·Eᵀy, where y = J⁻¹b, Z = J⁻¹E
// (the columns of the screener) and S = EᵀZ.
type correction struct {
	i, k int32
	m    [4][4]float64 // (I+ΔS)⁻¹Δ
}

// prepare computes the correction at the base voltages. It returns false where the corrected matrix is singular to
// working precision, so that the outage needs factors of its own.
func (c *correction) prepare(s *Solver, out outage) bool {
	c.i, c.k = out.from, out.to
	delta := s.outageDelta(out)
	z := s.screens.columns
	s.screens.base.columns(&s.net.sym, c.i, c.k, z)
	// a = [I+ΔS | Δ], reduced to [I | (I+ΔS)⁻¹Δ].
	var a [4][8]float64
	for r := range 4 {
		a[r][r] = 1
		for j := range 4 {
			a[r][4+j] = delta[r][j]
			for h := range 4 {
				a[r][j] += delta[r][h] * c.row(z, h)[j]
			}
		}
	}
	if !reduce(&a) {
		return false
	}
	for r := range 4 {
		copy(c.m[r][:], a[r][4:])
	}
	return true
}

// row returns row h of S: the rows of (θi, Vi, θk, Vk) in the columns.
func (c *correction) row(z [][8]float64, h int) []float64 {
	p := c.i
	if h >= 2 {
		p = c.k
	}
	return z[p][h%2*4 : h%2*4+4]
}

// apply turns x = J⁻¹b into the solution for the Jacobian after the outage.
func (c *correction) apply(x [][2]float64, z [][8]float64) {
	y := [4]float64{x[c.i][0], x[c.i][1], x[c.k][0], x[c.k][1]}
	var w [4]float64
	for r := range 4 {
		w[r] = c.m[r][0]*y[0] + c.m[r][1]*y[1] + c.m[r][2]*y[2] + c.m[r][3]*y[3]
	}
	for p := range x {
		t := &z[p]
		x[p][0] -= t[0]*w[0] + t[1]*w[1] + t[2]*w[2] + t[3]*w[3]
		x[p][1] -= t[4]*w[0] + t[5]*w[1] + t[6]*w[2] + t[7]*w[3]
	}
}

// outageDelta returns the change of the Jacobian at the base voltages, in rows and columns (θi, Vi, θk, Vk).
func (s *Solver) outageDelta(out outage) (d [4][4]float64) {
	y, st := &s.grid.branches[out.branch], &s.state
	i, k := out.from, out.to
	vi, vk := &st.v[i], &st.v[k]
	c, n := vi[0]*vk[0]+vi[1]*vk[1], vi[1]*vk[0]-vi[0]*vk[1]
	end := func(at int32, row, col int, self, mutual complex128, sine float64) {
		v2 := st.vm[at] * st.vm[at]
		a, b := real(mutual)*c+imag(mutual)*sine, real(mutual)*sine-imag(mutual)*c
		hp, hq := s.place.holdP[at], s.place.holdQ[at]
		d[row][row], d[row][row+1] = hp*b, -hp*(a+2*real(self)*v2)
		d[row+1][row], d[row+1][row+1] = -hq*a, -hq*(b-2*imag(self)*v2)
		d[row][col], d[row][col+1] = -hp*b, -hp*a
		d[row+1][col], d[row+1][col+1] = hq*a, -hq*b
	}
	end(i, 0, 2, y.ff, y.ft, n)
	end(k, 2, 0, y.tt, y.tf, -n)
	return d
}

// reduce brings the left half of a to the identity by Gauss-Jordan elimination with row pivoting.
func reduce(a *[4][8]float64) bool {
	for col := range 4 {
		best := col
		for r := col + 1; r < 4; r++ {
			if math.Abs(a[r][col]) > math.Abs(a[best][col]) {
				best = r
			}
		}
		if !(math.Abs(a[best][col]) > 1e-9) {
			return false
		}
		a[col], a[best] = a[best], a[col]
		inv := 1 / a[col][col]
		for j := col; j < 8; j++ {
			a[col][j] *= inv
		}
		for r := range 4 {
			if r == col {
				continue
			}
			w := a[r][col]
			for j := col; j < 8; j++ {
				a[r][j] -= w * a[col][j]
			}
		}
	}
	return true
}
