package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	pb "kafka-cache-sidecar/bench/load/kafkacachev1"
)

// sample is one acknowledged update that is being waited for.
type sample struct {
	key      []byte
	offset   int64
	acked    time.Time
	lastMiss time.Time // when the last lookup that did not show it was sent
}

type seen struct {
	Rate      float64 `json:"updates_per_s"`
	Samples   int     `json:"samples"`
	Unseen    int     `json:"unseen"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
	FirstPoll float64 `json:"seen_by_first_lookup"`
	ErrorP50  float64 `json:"error_p50_ms"`
	ErrorP99  float64 `json:"error_p99_ms"`
	TripP50   float64 `json:"lookup_p50_ms"`
	TripP99   float64 `json:"lookup_p99_ms"`
}

// watcher looks samples up until each is seen.
//
// Producer and reader are one process, so one monotonic clock times both ends. A sampled
// update joins the waiting ones when its acknowledgement arrives, and every round looks all
// waiting keys up in one MultiGet on one stream, one round at a time: a slow update does not
// keep others from being sampled, and the sidecar gets no lookups while none waits.
// An update becomes visible between the sending of the last lookup that missed it and the
// arrival of the first that shows it. The latter is what is reported, so each figure is at
// most too high, by the width of that span, which is reported as the error.
type watcher struct {
	mu      sync.Mutex
	waiting []*sample
	more    chan struct{}

	delays, errors, trips []time.Duration
	firstPoll             int
}

func (w *watcher) add(one *sample) {
	w.mu.Lock()
	w.waiting = append(w.waiting, one)
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

func (w *watcher) take() []*sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.waiting
	w.waiting = nil
	return taken
}

// run polls until stop is closed and nothing waits, or until the context ends.
func (w *watcher) run(ctx context.Context, client pb.CacheServiceClient, table string, stop <-chan struct{}) ([]*sample, error) {
	stream, err := client.Lookup(ctx)
	if err != nil {
		return nil, err
	}
	var waiting []*sample
	for {
		waiting = append(waiting, w.take()...)
		if len(waiting) == 0 {
			select {
			case <-w.more:
				continue
			case <-stop:
				return nil, stream.CloseSend()
			}
		}
		if ctx.Err() != nil {
			return waiting, nil
		}
		if waiting, err = w.round(stream, table, waiting); err != nil {
			if ctx.Err() != nil {
				return waiting, nil
			}
			return nil, err
		}
	}
}

const mostKeys = 100 // of one round; the rest wait for the next

func (w *watcher) round(stream pb.CacheService_LookupClient, table string, waiting []*sample) ([]*sample, error) {
	asked := waiting[:min(len(waiting), mostKeys)]
	request := &pb.MultiGetRequest{Table: table, View: pb.View_VIEW_META}
	for _, one := range asked {
		request.Keys = append(request.Keys, one.key)
	}
	sent := time.Now()
	if err := stream.Send(&pb.LookupRequest{Request: &pb.LookupRequest_MultiGet{MultiGet: request}}); err != nil {
		return waiting, err
	}
	response, err := stream.Recv()
	if err != nil {
		return waiting, err
	}
	now := time.Now()
	results := response.GetMultiGet().GetResults()
	if len(results) != len(asked) {
		return waiting, fmt.Errorf("lookup failed: %v", response.GetError())
	}
	w.trips = append(w.trips, now.Sub(sent))
	still := append([]*sample(nil), waiting[len(asked):]...)
	for at, one := range asked {
		if results[at].GetPresence() == pb.Presence_PRESENCE_FOUND && results[at].GetRecord().GetOffset() >= one.offset {
			w.note(one, now)
			continue
		}
		one.lastMiss = sent
		still = append(still, one)
	}
	return still, nil
}

func (w *watcher) note(one *sample, now time.Time) {
	since := one.lastMiss
	if since.IsZero() {
		since = one.acked
		w.firstPoll++
	}
	w.delays = append(w.delays, now.Sub(one.acked))
	w.errors = append(w.errors, now.Sub(since))
}

type visibleOptions struct {
	servers, topic, target, table      string
	rate, samples, distinct, valueSize int
	length, warmup                     time.Duration
}

func visible(ctx context.Context, args []string) (any, error) {
	var asked visibleOptions
	options("visible", args, asked.declare)
	conn, err := dial(asked.target)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	producer, err := kgo.NewClient(
		kgo.SeedBrokers(asked.servers), kgo.DefaultProduceTopic(asked.topic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()),
	)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	ctx, cancel := context.WithTimeout(ctx, asked.warmup+asked.length+15*time.Second)
	defer cancel()
	return asked.measure(ctx, producer, pb.NewCacheServiceClient(conn))
}

func (o *visibleOptions) declare(f *flag.FlagSet) {
	f.StringVar(&o.servers, "servers", "127.0.0.1:9092", "bootstrap server")
	f.StringVar(&o.topic, "topic", "bench", "topic")
	f.StringVar(&o.target, "target", "127.0.0.1:50051", "host:port or unix:///path of the sidecar")
	f.StringVar(&o.table, "table", "bench", "table")
	f.IntVar(&o.rate, "rate", 1000, "updates a second")
	f.IntVar(&o.samples, "samples", 200, "updates a second that are waited for")
	f.IntVar(&o.distinct, "distinct", 1_000_000, "keys that are updated")
	f.IntVar(&o.valueSize, "value-size", 100, "bytes of a value")
	f.DurationVar(&o.length, "length", 5*time.Second, "how long to measure")
	f.DurationVar(&o.warmup, "warmup", time.Second, "how long to run before")
}

func (o *visibleOptions) measure(ctx context.Context, producer *kgo.Client, client pb.CacheServiceClient) (any, error) {
	watcher := &watcher{more: make(chan struct{}, 1)}
	stop := make(chan struct{})
	var unseen []*sample
	var group errgroup.Group
	group.Go(func() (err error) {
		unseen, err = watcher.run(ctx, client, o.table, stop)
		return err
	})
	update := updates{producer, newData(3, o.distinct, o.valueSize, true), o.rate, max(1, o.rate/o.samples), watcher}
	begun := time.Now()
	count, failed := update.run(ctx, newWindow(o.warmup, o.length))
	took := time.Since(begun).Seconds()
	close(stop)
	if err := errors.Join(group.Wait(), failed); err != nil {
		return nil, err
	}
	return watcher.figures(float64(count)/took, len(unseen)), nil
}

// updates writes at a fixed rate and hands every n-th acknowledged update to the watcher.
type updates struct {
	producer *kgo.Client
	data     *data
	rate     int
	every    int
	watcher  *watcher
}

func (u updates) run(ctx context.Context, window window) (count int, err error) {
	pace := newPace(u.rate)
	var once sync.Once
	for ; time.Now().Before(window.end); count++ {
		if err := pace.wait(ctx); err != nil {
			return count, err
		}
		key, value := u.data.record()
		sampled := count%u.every == 0 && time.Now().After(window.begin)
		u.producer.Produce(ctx, &kgo.Record{Key: key, Value: value}, func(record *kgo.Record, failed error) {
			now := time.Now()
			if failed != nil {
				once.Do(func() { err = failed })
			} else if sampled {
				u.watcher.add(&sample{key: record.Key, offset: record.Offset, acked: now})
			}
		})
	}
	if flushed := u.producer.Flush(ctx); flushed != nil {
		return count, flushed
	}
	return count, err
}

func (w *watcher) figures(rate float64, unseen int) seen {
	result := seen{Rate: rate, Samples: len(w.delays) + unseen, Unseen: unseen}
	result.FirstPoll = float64(w.firstPoll) / float64(max(1, len(w.delays)))
	milliseconds := func(durations []time.Duration) (float64, float64, float64) {
		p50, p99, most := percentiles(durations)
		return p50 / 1e3, p99 / 1e3, most / 1e3
	}
	result.P50, result.P99, result.Max = milliseconds(w.delays)
	result.ErrorP50, result.ErrorP99, _ = milliseconds(w.errors)
	result.TripP50, result.TripP99, _ = milliseconds(w.trips)
	return result
}
