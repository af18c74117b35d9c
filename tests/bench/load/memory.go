package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

type remembered struct {
	Entries   int     `json:"entries"`
	AnEntry   float64 `json:"bytes_per_entry"`
	HeapEntry float64 `json:"heap_bytes_per_entry"`
}

// memory fills a map with entries, each with its own copy of the value, and compares the
// resident memory before and after, with all garbage collected and given back: what a Go
// program needs at least. (A running one also needs room for its collector.)
func memory(_ context.Context, args []string) (any, error) {
	var entries, valueSize int
	options("memory", args, func(f *flag.FlagSet) {
		f.IntVar(&entries, "entries", 1_000_000, "entries")
		f.IntVar(&valueSize, "value-size", 100, "bytes of a value")
	})
	before, heapBefore := settled()
	table := map[string]entry{}
	for number := range entries {
		value := bytes.Repeat([]byte{'v'}, valueSize) // written to: an untouched page is not resident
		table[string(keyOf(number))] = entry{value, int64(number), int64(number), int32(number % 4)}
	}
	after, heapAfter := settled()
	count := len(table)
	runtime.KeepAlive(table)
	return remembered{
		count, float64(after-before) / float64(count), float64(heapAfter-heapBefore) / float64(count),
	}, nil
}

func settled() (resident, heap int64) {
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, int64(stats.HeapAlloc)
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	return pages * int64(os.Getpagesize()), int64(stats.HeapAlloc)
}
