// One gobreaker with its state in Redis; its calls fail or succeed as they are told.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
)

type store struct{ client *redis.Client }

var errHeld = errors.New("somebody holds the lock")

func (s store) Lock(name string) error {
	done, err := s.client.SetNX(context.Background(), name, 1, 5*time.Second).Result()
	if err == nil && !done {
		err = errHeld
	}
	return err
}

func (s store) Unlock(name string) error {
	return s.client.Del(context.Background(), name).Err()
}

func (s store) GetData(name string) ([]byte, error) {
	data, err := s.client.Get(context.Background(), name).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return data, err
}

func (s store) SetData(name string, data []byte) error {
	return s.client.Set(context.Background(), name, data, 0).Err()
}

func main() {
	listen, at := os.Args[1], os.Args[2]
	breaker, err := gobreaker.NewDistributedCircuitBreaker[string](
		store{redis.NewClient(&redis.Options{Addr: at})},
		gobreaker.Settings{
			Name:        "orders",
			MaxRequests: 2,
			Timeout:     time.Second,
			ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= 5 },
		},
	)
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/drive", func(answer http.ResponseWriter, request *http.Request) {
		holdMs, _ := strconv.Atoi(request.URL.Query().Get("holdMs"))
		_, err := breaker.Execute(func() (string, error) {
			time.Sleep(time.Duration(holdMs) * time.Millisecond)
			if request.URL.Query().Get("good") != "true" {
				return "", errors.New("told to fail")
			}
			return "well", nil
		})
		switch {
		case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
			answer.WriteHeader(503)
		case err != nil:
			answer.WriteHeader(502)
		}
		fmt.Fprintln(answer, err)
	})
	log.Fatal(http.ListenAndServe(listen, nil))
}
