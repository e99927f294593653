package target;

import com.netflix.hystrix.HystrixCommand;
import com.netflix.hystrix.HystrixCommandGroupKey;
import com.netflix.hystrix.HystrixCommandKey;
import com.netflix.hystrix.HystrixCommandProperties;
import com.netflix.hystrix.contrib.metrics.eventstream.HystrixMetricsStreamServlet;
import com.netflix.hystrix.exception.HystrixRuntimeException;
import java.io.IOException;
import java.net.InetSocketAddress;
import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;

/** One Hystrix command that fails or succeeds as it is told, and the stream that tells of it. */
public final class Target {
  private Target() {}

  public static void main(String[] arguments) throws Exception {
    Server server = new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])));
    ServletContextHandler context = new ServletContextHandler();
    context.addServlet(new ServletHolder(new Drive()), "/drive");
    context.addServlet(new ServletHolder(new HystrixMetricsStreamServlet()), "/hystrix.stream");
    server.setHandler(context);
    server.start();
    server.join();
  }

  private static final class Drive extends HttpServlet {
    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
      try {
        response.getWriter().print(new Orders("true".equals(request.getParameter("good"))).execute());
      } catch (HystrixRuntimeException failed) {
        boolean keptBack = failed.getFailureType() == HystrixRuntimeException.FailureType.SHORTCIRCUIT;
        response.setStatus(keptBack ? 503 : 502);
      }
    }
  }

  private static final class Orders extends HystrixCommand<String> {
    private final boolean good;

    Orders(boolean good) {
      super(
          Setter.withGroupKey(HystrixCommandGroupKey.Factory.asKey("tests"))
              .andCommandKey(HystrixCommandKey.Factory.asKey("orders"))
              .andCommandPropertiesDefaults(
                  HystrixCommandProperties.Setter()
                      .withCircuitBreakerRequestVolumeThreshold(5)
                      .withCircuitBreakerSleepWindowInMilliseconds(1500)
                      .withMetricsHealthSnapshotIntervalInMilliseconds(100)));
      this.good = good;
    }

    @Override
    protected String run() {
      if (!good) {
        throw new IllegalStateException("told to fail");
      }
      return "well";
    }
  }
}
