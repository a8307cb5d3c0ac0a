package vaultmesh

import (
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestFigure(t *testing.T) {
	for _, c := range []struct {
		x      float64
		bounds []float64
		want   string
	}{
		{0.30000000000000004, nil, "0.3"},
		{3960.1234567890124, nil, "3960.12"},
		{-51.0319335, nil, "-51.0319"},
		{440, nil, "440"},
		{12345678, nil, "12345678"},
		{1e-7, nil, "1e-07"},
		{550.0000001, []float64{0, 550}, "550.0000001"},
		{0.30000000000000004, []float64{0.3}, "0.30000000000000004"},
		{math.Inf(1), nil, "+Inf"},
		{math.NaN(), []float64{1}, "NaN"},
	} {
		if got := Figure(c.x, c.bounds...); got != c.want {
			t.Errorf("Figure(%v, %v) = %q, want %q", c.x, c.bounds, got, c.want)
		}
	}
}

// A figure is never on another side of a bound than its number, and never far from it.
func TestFigureIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, b := rapid.Float64().Draw(t, "x"), rapid.Float64().Draw(t, "bound")
		if rapid.Bool().Draw(t, "close") {
			b = math.Nextafter(x, b)
		}
		y, err := strconv.ParseFloat(Figure(x, b), 64)
		if err != nil {
			t.Fatal(err)
		}
		if (x < b) != (y < b) || (x > b) != (y > b) || math.Abs(x-y) > math.Abs(x)*1e-5 {
			t.Fatalf("%v by %v is written as %v", x, b, y)
		}
	})
}
