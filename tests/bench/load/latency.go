package main

import (
	"slices"
	"time"
)

// figures are what one measurement of round trips comes to.
type figures struct {
	Seconds  float64 `json:"seconds"`
	Calls    int     `json:"calls"`
	Keys     int     `json:"keys"`
	CallRate float64 `json:"calls_per_s"`
	KeyRate  float64 `json:"keys_per_s"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	Max      float64 `json:"max_us"`
	Missing  int     `json:"missing"`
}

func figuresOf(latencies []time.Duration, keys, missing int, took time.Duration) figures {
	p50, p99, most := percentiles(latencies)
	return figures{
		Seconds: took.Seconds(), Calls: len(latencies), Keys: keys,
		CallRate: float64(len(latencies)) / took.Seconds(), KeyRate: float64(keys) / took.Seconds(),
		P50: p50, P99: p99, Max: most, Missing: missing,
	}
}

// percentiles gives the median, the 99th and the highest, in microseconds.
func percentiles(latencies []time.Duration) (p50, p99, most float64) {
	if len(latencies) == 0 {
		return 0, 0, 0
	}
	slices.Sort(latencies)
	at := func(share float64) float64 {
		return float64(latencies[int(share*float64(len(latencies)-1))].Nanoseconds()) / 1e3
	}
	return at(0.5), at(0.99), at(1)
}

// worker is one of several that keep one call in flight each.
type worker struct {
	latencies []time.Duration
	keys      int
	missing   int
}

// window says which calls count: those that begin after the warmup and end in time.
type window struct {
	begin, end time.Time
}

func newWindow(warmup, length time.Duration) window {
	begin := time.Now().Add(warmup)
	return window{begin, begin.Add(length)}
}

// note counts a call; it answers whether to go on.
func (w *worker) note(window window, sent time.Time, keys, missing int) bool {
	now := time.Now()
	if now.After(window.end) {
		return false
	}
	if sent.After(window.begin) {
		w.latencies = append(w.latencies, now.Sub(sent))
		w.keys += keys
		w.missing += missing
	}
	return true
}

func together(workers []worker, window window) figures {
	var all worker
	for _, one := range workers {
		all.latencies = append(all.latencies, one.latencies...)
		all.keys += one.keys
		all.missing += one.missing
	}
	return figuresOf(all.latencies, all.keys, all.missing, window.end.Sub(window.begin))
}
