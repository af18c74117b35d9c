package main

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/status"

	pb "kafka-cache-sidecar/bench/load/kafkacachev1"
)

// Keys that share all but their last two digits share a prefix.
const keysOfPrefix = 100

// follower is one watch, and what it made of what it was told: by key, the record's place.
type follower struct {
	prefix string
	mutex  sync.Mutex
	held   map[string]place
	events int
}

type place struct {
	partition int32
	offset    int64
}

func (f *follower) take(event *pb.WatchEvent) {
	switch one := event.GetEvent().(type) {
	case *pb.WatchEvent_Upsert:
		f.held[string(one.Upsert.GetKey())] = place{one.Upsert.GetPartition(), one.Upsert.GetOffset()}
		f.events++
	case *pb.WatchEvent_Deletion:
		delete(f.held, string(one.Deletion.GetKey()))
		f.events++
	}
}

func (f *follower) run(ctx context.Context, client pb.CacheServiceClient, table string, ready func()) error {
	request := &pb.WatchRequest{
		Table: table, View: pb.View_VIEW_META, ProgressIntervalMs: 1000,
		Start: &pb.WatchRequest_Snapshot{Snapshot: &pb.StartSnapshot{}},
	}
	if f.prefix != "" {
		request.Filter = &pb.Filter{By: &pb.Filter_KeyPrefix{KeyPrefix: []byte(f.prefix)}}
	}
	stream, err := client.Watch(ctx, request)
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch of %q: %w", f.prefix, err)
		}
		f.mutex.Lock()
		for _, event := range response.GetEvents() {
			f.take(event)
			if event.GetSnapshotEnd() != nil {
				ready()
			}
		}
		f.mutex.Unlock()
	}
}

// equal tells whether what it holds is this table, as far as it watches it.
func (f *follower) equal(table map[string]place) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	count := 0
	for key, at := range table {
		if len(key) >= len(f.prefix) && key[:len(f.prefix)] == f.prefix {
			if f.held[key] != at {
				return false
			}
			count++
		}
	}
	return count == len(f.held)
}

// watch follows a table in many ways at once; at the end each must be equal to it.
func watch(ctx context.Context, args []string) (any, error) {
	var target, table string
	var prefixes, whole, stalled int
	var length time.Duration
	options("watch", args, func(f *flag.FlagSet) {
		f.StringVar(&target, "target", "127.0.0.1:50051", "host:port or unix:///path")
		f.StringVar(&table, "table", "bench", "table")
		f.IntVar(&prefixes, "prefixes", 500, "watches of 100 keys each")
		f.IntVar(&whole, "whole", 5, "watches of the whole table")
		f.IntVar(&stalled, "stalled", 0, "watches of the whole table that never read")
		f.DurationVar(&length, "length", 10*time.Second, "how long")
	})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	followers := make([]*follower, prefixes+whole)
	var began sync.WaitGroup
	group, ctx := errgroup.WithContext(ctx)
	for number := range followers {
		one := &follower{held: map[string]place{}}
		if number < prefixes {
			one.prefix = string(keyOf(number * keysOfPrefix))[:14]
		}
		followers[number] = one
		// Streams of one connection share a window; a hundred is what most servers allow.
		conn, err := dial(target)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		began.Add(1)
		group.Go(func() error { return one.run(ctx, pb.NewCacheServiceClient(conn), table, began.Done) })
	}
	cut, err := stall(ctx, target, table, stalled)
	if err != nil {
		return nil, err
	}
	all := make(chan struct{})
	go func() {
		began.Wait()
		close(all)
	}()
	select {
	case <-ctx.Done(): // one of them has failed
		return nil, group.Wait()
	case <-all:
	}
	fmt.Println("{}") // all have their snapshot
	select {
	case <-ctx.Done():
	case <-time.After(length):
	}
	conn, err := dial(target)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	equal, err := compared(ctx, pb.NewCacheServiceClient(conn), table, followers)
	if ctx.Err() != nil {
		return nil, group.Wait() // one of them has failed
	}
	if err != nil {
		return nil, err
	}
	reasons := cut()
	cancel()
	events := 0
	for _, one := range followers {
		events += one.events
	}
	return map[string]any{"watches": len(followers), "equal": equal, "events": events, "cut": reasons},
		group.Wait()
}

// compared tells how many are equal to the table, once nothing is written any more.
func compared(ctx context.Context, client pb.CacheServiceClient, name string, followers []*follower) (int, error) {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		table := map[string]place{}
		_, err := scanOnce(ctx, client, name, func(record *pb.Record) error {
			table[string(record.GetKey())] = place{record.GetPartition(), record.GetOffset()}
			return nil
		})
		if err != nil {
			return 0, err
		}
		equal := 0
		for _, one := range followers {
			if one.equal(table) {
				equal++
			}
		}
		if equal == len(followers) || time.Now().After(end) {
			return equal, nil
		}
	}
}

// stall begins watches that do not read; the function tells how many of them were cut.
func stall(ctx context.Context, target, table string, count int) (func() []string, error) {
	var streams []pb.CacheService_WatchClient
	for range count {
		conn, err := dial(target)
		if err != nil {
			return nil, err
		}
		stream, err := pb.NewCacheServiceClient(conn).Watch(ctx, &pb.WatchRequest{
			Table: table, View: pb.View_VIEW_FULL, Start: &pb.WatchRequest_Now{Now: &pb.StartNow{}},
		})
		if err != nil {
			return nil, err
		}
		streams = append(streams, stream)
	}
	return func() []string {
		reasons := []string{}
		for _, stream := range streams {
			end := time.Now().Add(5 * time.Second)
			for time.Now().Before(end) {
				if _, err := stream.Recv(); err != nil {
					reasons = append(reasons, status.Code(err).String())
					break
				}
			}
		}
		return reasons
	}, nil
}

func scanOnce(
	ctx context.Context, client pb.CacheServiceClient, table string, each func(*pb.Record) error,
) (int, error) {
	stream, err := client.Scan(ctx, &pb.ScanRequest{Table: table, View: pb.View_VIEW_META})
	if err != nil {
		return 0, err
	}
	count := 0
	for {
		response, err := stream.Recv()
		if err != nil {
			if err.Error() == "EOF" {
				return count, nil
			}
			return count, err
		}
		for _, record := range response.GetRecords() {
			count++
			if err := each(record); err != nil {
				return count, err
			}
		}
	}
}

// scan reads a table of which every key is there throughout, again and again: each must be met once, in order.
func scan(ctx context.Context, args []string) (any, error) {
	var target, table string
	var distinct int
	var length time.Duration
	options("scan", args, func(f *flag.FlagSet) {
		f.StringVar(&target, "target", "127.0.0.1:50051", "host:port or unix:///path")
		f.StringVar(&table, "table", "bench", "table")
		f.IntVar(&distinct, "distinct", 1_000_000, "keys that there are")
		f.DurationVar(&length, "length", 10*time.Second, "how long; the last one is read to its end")
	})
	conn, err := dial(target)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := pb.NewCacheServiceClient(conn)
	begun, scans, records := time.Now(), 0, 0
	for time.Since(begun) < length {
		number := 0
		count, err := scanOnce(ctx, client, table, func(record *pb.Record) error {
			if string(record.GetKey()) != string(keyOf(number)) {
				return fmt.Errorf("met %s where %s was to come", record.GetKey(), keyOf(number))
			}
			number++
			return nil
		})
		if err != nil {
			return nil, err
		}
		if count != distinct {
			return nil, fmt.Errorf("a scan met %d of %d keys", count, distinct)
		}
		scans, records = scans+1, records+count
	}
	seconds := time.Since(begun).Seconds()
	return map[string]any{"scans": scans, "records_per_s": float64(records) / seconds}, nil
}
