package target;

import io.github.resilience4j.circuitbreaker.CallNotPermittedException;
import io.github.resilience4j.circuitbreaker.CircuitBreaker;
import io.github.resilience4j.circuitbreaker.CircuitBreakerRegistry;
import io.github.resilience4j.circuitbreaker.event.CircuitBreakerOnStateTransitionEvent;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;

/**
 * A service that calls its dependency through resilience4j.
 *
 * <p>{@code replace-after-ms} makes it abandon its breaker that long after that opened, as a service does whose
 * registry is refreshed: the old one stays in the actuator, and nobody calls it any more.
 */
@SpringBootApplication
@RestController
public class Target {
  // With HTTP/2 it would ask for an upgrade with every request, and a proxy might not look into that.
  private final HttpClient client =
      HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
  private final CircuitBreakerRegistry registry;
  private final String dependency;
  private final Duration timeout;
  private final long replaceAfterMs;
  private volatile String name = "orders";
  private volatile long openedAt = 0;

  Target(
      CircuitBreakerRegistry registry,
      @Value("${dependency:}") String dependency,
      @Value("${timeout-ms:300}") long timeoutMs,
      @Value("${replace-after-ms:0}") long replaceAfterMs) {
    this.registry = registry;
    this.dependency = dependency;
    this.timeout = Duration.ofMillis(timeoutMs);
    this.replaceAfterMs = replaceAfterMs;
    registry.circuitBreaker("orders").getEventPublisher().onStateTransition(this::note);
  }

  private void note(CircuitBreakerOnStateTransitionEvent event) {
    if (event.getStateTransition().getToState() == CircuitBreaker.State.OPEN) {
      openedAt = System.nanoTime();
    }
  }

  public static void main(String[] arguments) {
    SpringApplication.run(Target.class, arguments);
  }

  @GetMapping("/call")
  ResponseEntity<String> call(@RequestHeader(name = "x-request-id", defaultValue = "") String id) {
    return guarded(current(), () -> ask(id));
  }

  /** Calls nobody: it fails or succeeds as it is told, so that a test moves the breaker NAME by hand. */
  @GetMapping("/drive")
  ResponseEntity<String> drive(
      @RequestParam String name,
      @RequestParam boolean good,
      @RequestParam(defaultValue = "0") long holdMs) {
    return guarded(registry.circuitBreaker(name), () -> {
      TimeUnit.MILLISECONDS.sleep(holdMs);
      if (!good) {
        throw new IllegalStateException("told to fail");
      }
      return "well";
    });
  }

  private static ResponseEntity<String> guarded(CircuitBreaker breaker, Callable<String> work) {
    try {
      return ResponseEntity.ok(breaker.executeCallable(work));
    } catch (CallNotPermittedException refused) {
      return ResponseEntity.status(503).body("kept back");
    } catch (Exception failed) {
      return ResponseEntity.status(502).body(String.valueOf(failed));
    }
  }

  private CircuitBreaker current() {
    long opened = openedAt;
    if (replaceAfterMs > 0 && opened > 0 && System.nanoTime() - opened > replaceAfterMs * 1_000_000) {
      name = "orders-2";
    }
    return registry.circuitBreaker(name);
  }

  private String ask(String id) throws Exception {
    HttpRequest request =
        HttpRequest.newBuilder(URI.create("http://" + dependency + "/item"))
            .timeout(timeout)
            .header("x-request-id", id)
            .build();
    HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
    if (answer.statusCode() >= 500) {
      throw new IllegalStateException("answered " + answer.statusCode());
    }
    return answer.body();
  }
}
