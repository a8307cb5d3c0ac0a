package vaultmesh

import (
	"math"
	"strconv"
)

// Figure writes a number for people: whole numbers whole, others with six significant digits, and with as many more as
// it takes to stand on the same side of each bound as the number itself. Records keep the exact number.
func Figure(x float64, bounds ...float64) string {
	const fewest, most = 6, 17
	if x == math.Trunc(x) || math.IsNaN(x) || math.IsInf(x, 0) {
		return plainly(x)
	}
	near := x
	for digits := fewest; digits < most; digits++ {
		var err error
		if near, err = strconv.ParseFloat(strconv.FormatFloat(x, 'g', digits, 64), 64); err != nil {
			return plainly(x)
		}
		if sameSide(x, near, bounds) {
			break
		}
		near = x
	}
	return plainly(near)
}

// plainly writes a number without an exponent where that is not long: whole numbers up to 2^53, fractions from 0.0001.
func plainly(x float64) string {
	if size := math.Abs(x); size == 0 || size >= 1e-4 && size <= 1<<53 {
		return strconv.FormatFloat(x, 'f', -1, 64)
	}
	return strconv.FormatFloat(x, 'g', -1, 64)
}

func sameSide(x, near float64, bounds []float64) bool {
	for _, b := range bounds {
		if (x < b) != (near < b) || (x > b) != (near > b) {
			return false
		}
	}
	return true
}
