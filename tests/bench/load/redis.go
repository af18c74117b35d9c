package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

func redisLookups(ctx context.Context, args []string) (any, error) {
	var target, mode string
	var inFlight, distinct, batch, valueSize int
	var length, warmup time.Duration
	options("redis", args, func(f *flag.FlagSet) {
		f.StringVar(&target, "target", "127.0.0.1:6379", "host:port or unix:///path")
		f.StringVar(&mode, "mode", "get", "fill (with keys), get, mget, or pipeline (of in-flight GETs on one connection)")
		f.IntVar(&inFlight, "in-flight", 1, "calls in flight")
		f.IntVar(&distinct, "distinct", 1_000_000, "keys to choose from")
		f.IntVar(&batch, "batch", 100, "keys of an MGET")
		f.IntVar(&valueSize, "value-size", 100, "bytes of a value, for fill")
		f.DurationVar(&length, "length", 3*time.Second, "how long to measure")
		f.DurationVar(&warmup, "warmup", time.Second, "how long to run before")
	})
	config := &redis.Options{Network: "tcp", Addr: target, PoolSize: inFlight}
	if path, ok := strings.CutPrefix(target, unixPrefix); ok {
		config.Network, config.Addr = "unix", path
	}
	client := redis.NewClient(config)
	defer client.Close()
	source := newData(1, distinct, valueSize, true)
	window := newWindow(warmup, length)
	switch mode {
	case "fill":
		return fill(ctx, client, source)
	case "get":
		return redisCalls(ctx, inFlight, source.keys, window, func(picker *picker) (int, int, error) {
			value, err := client.Get(ctx, string(picker.key())).Bytes()
			return 1, missingBytes(len(value)), err
		})
	case "mget":
		return redisCalls(ctx, inFlight, source.keys, window, func(picker *picker) (int, int, error) {
			return redisMGet(ctx, client, picker, batch)
		})
	case "pipeline":
		return redisCalls(ctx, 1, source.keys, window, func(picker *picker) (int, int, error) {
			return redisPipeline(ctx, client, picker, inFlight)
		})
	}
	return nil, fmt.Errorf("no such mode: %q", mode)
}

func missingBytes(length int) int {
	if length > 0 {
		return 0
	}
	return 1
}

func redisMGet(ctx context.Context, client *redis.Client, picker *picker, batch int) (int, int, error) {
	keys := make([]string, batch)
	for at := range keys {
		keys[at] = string(picker.key())
	}
	values, err := client.MGet(ctx, keys...).Result()
	missing := 0
	for _, value := range values {
		if value == nil {
			missing++
		}
	}
	return batch, missing, err
}

func redisPipeline(ctx context.Context, client *redis.Client, picker *picker, depth int) (int, int, error) {
	pipeline := client.Pipeline()
	for range depth {
		pipeline.Get(ctx, string(picker.key()))
	}
	_, err := pipeline.Exec(ctx)
	return depth, 0, err
}

func redisCalls(
	_ context.Context, inFlight int, keys [][]byte, window window, call func(*picker) (int, int, error),
) (any, error) {
	workers := make([]worker, inFlight)
	var group errgroup.Group
	for number := range workers {
		group.Go(func() error {
			picker := job{keys: keys}.newPicker(number)
			for {
				sent := time.Now()
				keys, missing, err := call(picker)
				if err != nil {
					return err
				}
				if !workers[number].note(window, sent, keys, missing) {
					return nil
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return together(workers, window), nil
}

func fill(ctx context.Context, client *redis.Client, source *data) (any, error) {
	const step = 1000
	begun := time.Now()
	for from := 0; from < len(source.keys); from += step {
		pipeline := client.Pipeline()
		for _, key := range source.keys[from:min(from+step, len(source.keys))] {
			pipeline.Set(ctx, string(key), source.value(), 0)
		}
		if _, err := pipeline.Exec(ctx); err != nil {
			return nil, err
		}
	}
	took := time.Since(begun).Seconds()
	return produced{int64(len(source.keys)), took, float64(len(source.keys)) / took}, nil
}
